"""TensorRT plans beside an artifact: `plans/<key16>.plan`, and `<key16>.json`, which says what each was made from.

A plan belongs to one version of TensorRT on one model of GPU, so it is no part of the artifact's own list of digests.
Its key digests everything that made it; the document holds the facts behind the key, the sha256 of the plan and a
seal. What does not fit this machine, or was not built by this user, is not loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rate.artifacts.artifact import Artifact
from rate.artifacts.folders import canonical, field, read_document, write_document
from rate.artifacts.signature import is_sealed, seal
from rate.backends.base import Graph
from rate.backends.tensorrt.backend import TensorRtSpec
from rate.backends.tensorrt.device_memory import Device, open_device
from rate.backends.tensorrt.library import load_tensorrt
from rate.errors import ArtifactError, UsageError
from rate.types import Json

PLANS = "plans"
PLAN_SCHEMA_ID = "rate.plan/1"
PRECISIONS = ("fp16", "bf16", "f32")
"""Of graphs that plans are built from, the fastest first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The description of a plan."""

    path: Path  # of the plan itself
    facts: Json  # what decides whether it fits: see `facts_of`
    rungs: tuple[int, ...]  # rows of a batch, ascending
    sha256: str
    capture: bool  # whether it can be replayed as a CUDA graph
    parity: Json  # rung -> distance from the source's logits
    made: Json  # with what, how long it took

    @property
    def precision(self) -> str:
        """Of the graph."""
        return str(self.facts["precision"])

    def spec(self, graph: Graph) -> TensorRtSpec:
        """The plan as a backend takes it."""
        return TensorRtSpec(graph, self.path, self.sha256, self.rungs, self.capture)


def plan_graph(artifact: Artifact, precision: str) -> Graph:
    """The graph that a plan of this precision is built from.

    Raises:
        UsageError: the artifact has none.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"no TensorRT plan is built in {precision}; {', '.join(PRECISIONS)} are")
    if precision != "f32" and f"pixels-{precision}" not in artifact.graphs:
        raise UsageError(
            f"{artifact.path} has no pixels graph in {precision}, and TensorRT takes the precision of the graph; "
            f"export it again with --precision {precision} --format tensorrt"
        )
    return artifact.graph("pixels", precision)


def machine_facts(device: Device, library: Any) -> dict[str, str]:
    """What a plan must have been built with to run here."""
    return {
        "tensorrt": str(library.__version__),
        "gpu": device.name,
        "capability": device.capability,
        "cuda": device.cuda,
    }


def facts_of(
    machine: dict[str, str], artifact: Artifact, graph: Graph, profiles: Sequence[Mapping[str, Any]], flags: Json
) -> Json:
    """Everything that a plan is made from.

    ``onnx`` lists every graph and weight file of the artifact: which weights a graph reads stands inside it.
    """
    return {
        **machine,
        "graph": graph.path.name,
        "precision": graph.precision,
        "onnx": {name: sha for name, sha in artifact.files.items() if ".onnx" in name},
        "profiles": [dict(shapes) for shapes in profiles],
        "flags": flags,
    }


def key_of(facts: Json) -> str:
    """Digest of the facts, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(facts)).hexdigest()


def plan_path(artifact: Path, facts: Json) -> Path:
    """Where the plan of these facts lies."""
    return artifact / PLANS / f"{key_of(facts)[:16]}.plan"


def write_plan(plan: Plan) -> None:
    """Describe and seal a plan whose file is there; without this it is never loaded."""
    document = {
        "schema": PLAN_SCHEMA_ID,
        "key": key_of(plan.facts),
        "facts": plan.facts,
        "rungs": list(plan.rungs),
        "sha256": plan.sha256,
        "capture": plan.capture,
        "parity": plan.parity,
        "made": plan.made,
    }
    write_document(plan.path.with_suffix(".json"), document | {"seal": seal(document)})


def read_plan(path: Path) -> Plan:
    """Read the description `<key16>.json`; the plan's own digest is compared when it is loaded.

    Raises:
        ArtifactError: it is malformed, changed, or of another user.
    """
    document = read_document(path.parent, path.name, PLAN_SCHEMA_ID)
    again = "build it again here: rate export ARTIFACT --format tensorrt"
    facts = field(document, "facts", dict, path)
    key = key_of(facts)
    if key != document.get("key") or path.stem != key[:16]:
        raise ArtifactError(f"{path} has the key {document.get('key')!r}, its facts have {key}; {again}")
    if not is_sealed(document):
        raise ArtifactError(
            f"{path} was changed, or written by another user or on another machine, and plans are executable; {again}"
        )
    return Plan(
        path=path.with_suffix(".plan"),
        facts=facts,
        rungs=tuple(field(document, "rungs", list, path)),
        sha256=field(document, "sha256", str, path),
        capture=document.get("capture") is True,
        parity=field(document, "parity", dict, path),
        made=field(document, "made", dict, path),
    )


def planned(artifact: Artifact) -> tuple[str, ...]:
    """Precisions that some plan of the artifact claims to have, the fastest first; no plan is trusted for it."""
    found = set()
    for path in _documents(artifact):
        try:
            facts = read_document(path.parent, path.name, PLAN_SCHEMA_ID).get("facts")
        except ArtifactError:
            continue
        found.add(facts.get("precision") if isinstance(facts, dict) else None)
    return tuple(precision for precision in PRECISIONS if precision in found)


def plan_spec(artifact: Artifact, precision: str, batch: int) -> TensorRtSpec:
    """The plan of an artifact for this machine; of several the one that pads batches of ``batch`` rows the least.

    Raises:
        UsageError: there is none; the message says what each one lacks, and how to build one.
        BackendError: there is no GPU.
    """
    graph = plan_graph(artifact, precision)
    machine = machine_facts(open_device(), load_tensorrt())
    onnx = facts_of(machine, artifact, graph, [], {})["onnx"]
    fitting, reasons = [], []
    for path in _documents(artifact):
        try:
            plan = read_plan(path)
        except ArtifactError as error:
            reasons.append(str(error).partition(";")[0])
            continue
        if plan.precision != precision:
            continue
        wanted = {**machine, "graph": graph.path.name, "onnx": onnx}
        if differing := [name for name, value in wanted.items() if plan.facts.get(name) != value]:
            reasons.append(f"{path.name} was built for {_differences(plan.facts, wanted, differing)}")
        else:
            fitting.append(plan)
    if not fitting:
        found = ", ".join(reasons) or "none was built"
        raise UsageError(
            f"{artifact.path} has no TensorRT plan in {precision} for this machine ({found}); build one here: "
            f"rate export {artifact.path} --format tensorrt --precision {precision}"
        )
    return min(fitting, key=lambda plan: _padding(plan.rungs, batch)).spec(graph)


def describe_plans(artifact: Artifact) -> list[str]:
    """One line a plan for people, whatever machine it is for."""
    lines = []
    for path in _documents(artifact):
        try:
            plan = read_plan(path)
        except ArtifactError as error:
            lines.append(str(error).partition(";")[0])
            continue
        rows = ", ".join(map(str, plan.rungs))
        lines.append(
            f"tensorrt {plan.facts['tensorrt']}, {plan.precision}, batches of {rows} rows, {plan.facts['gpu']}"
            + ("" if plan.capture else ", without CUDA graphs")
        )
    return lines


def _documents(artifact: Artifact) -> list[Path]:
    return sorted((artifact.path / PLANS).glob("*.json"))


def _differences(facts: Json, wanted: dict[str, Any], names: list[str]) -> str:
    told = [f"{name} {facts.get(name)}, here it is {wanted[name]}" for name in names if name != "onnx"]
    return " and ".join(told + ["other weights"] * ("onnx" in names))


def _padding(rungs: tuple[int, ...], batch: int) -> tuple[int, int]:
    """(rows computed for nothing, parts) of a batch."""
    rest = batch % rungs[-1]
    padded = next(rung for rung in rungs if rung >= rest) - rest if rest else 0
    return padded, -(-batch // rungs[-1])
