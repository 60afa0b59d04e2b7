"""TensorRT plans beside an artifact: `plans/<key16>.plan`, and `<key16>.json`, which says what each was made from.

A plan belongs to one version of TensorRT on one model of GPU, so it is no part of the artifact's own list of digests.
Its key digests everything that made it; the document holds the facts behind the key, and the sha256 of the plan.

A plan is executable code, and an artifact may come from anybody. The digest of every document that this user wrote is
kept in this user's own state folder; plans of other documents are not loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rate.artifacts.artifact import Artifact
from rate.artifacts.folders import PLANS, canonical, field, read_document
from rate.backends.base import Graph
from rate.backends.tensorrt import TensorRtSpec, pieces
from rate.backends.tensorrt_library import Gpu, load_tensorrt, open_gpu
from rate.errors import ArtifactError, UsageError
from rate.files import write_json
from rate.types import Json

PLAN_SCHEMA_ID = "rate.plan/1"
PRECISIONS = ("fp16", "bf16", "f32")
"""Of graphs that plans are built from, the fastest first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The description of a plan."""

    path: Path  # of the plan itself
    facts: Json  # what decides whether it fits: see `facts_of`
    batch_sizes: tuple[int, ...]  # ascending
    sha256: str
    capture: bool  # whether it can be replayed as a CUDA graph
    parity: Json  # batch size -> distance from the source's logits
    made: Json  # with what, how long it took

    @property
    def precision(self) -> str:
        """Of the graph."""
        return str(self.facts["precision"])


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


def machine_facts(gpu: Gpu, library: Any) -> dict[str, str]:
    """What a plan must have been built with to run here."""
    return {
        "tensorrt": str(library.__version__),
        "gpu": gpu.name,
        "capability": gpu.capability,
        "cuda": gpu.cuda,
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


def key_of(document: Json) -> str:
    """Digest of facts or of a whole description, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(document)).hexdigest()


def plan_path(artifact: Path, facts: Json) -> Path:
    """Where the plan of these facts lies."""
    return artifact / PLANS / f"{key_of(facts)[:16]}.plan"


def state_folder() -> Path:
    """What this user keeps between commands: `$XDG_STATE_HOME/rate`, by default `~/.local/state/rate`.

    Raises:
        UsageError: it cannot be made.
    """
    base = os.environ.get("XDG_STATE_HOME")
    folder = (Path(base) if base else Path.home() / ".local" / "state") / "rate"
    try:
        (folder / PLANS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made ({error.strerror}), and TensorRT plans need it: let XDG_STATE_HOME name a "
            "folder of your own that can be written"
        ) from error
    return folder


def write_plan(plan: Plan) -> None:
    """Describe a plan whose file is there, and remember the description; without this it is never loaded."""
    document = {
        "schema": PLAN_SCHEMA_ID,
        "key": key_of(plan.facts),
        "facts": plan.facts,
        "batch_sizes": list(plan.batch_sizes),
        "sha256": plan.sha256,
        "capture": plan.capture,
        "parity": plan.parity,
        "made": plan.made,
    }
    (state_folder() / PLANS / key_of(document)).touch()
    write_json(plan.path.with_suffix(".json"), document)


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
    if not (state_folder() / PLANS / key_of(document)).exists():
        raise ArtifactError(
            f"{path} was changed, or written by another user or on another machine, and plans are executable; {again}"
        )
    return Plan(
        path=path.with_suffix(".plan"),
        facts=facts,
        batch_sizes=tuple(field(document, "batch_sizes", list, path)),
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


def plan_spec(artifact: Artifact, precision: str, batch: int, device: str = "cuda:0") -> TensorRtSpec:
    """The plan of an artifact for the GPU ``device``; of several the one that pads batches of ``batch`` rows the least.

    Raises:
        UsageError: there is none; the message says what each one lacks, and how to build one.
        BackendError: there is no GPU.
    """
    graph = plan_graph(artifact, precision)
    machine = machine_facts(open_gpu(device), load_tensorrt())
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
    plan = min(fitting, key=lambda plan: _padding(plan.batch_sizes, batch))
    return TensorRtSpec(graph, plan.path, plan.sha256, plan.batch_sizes, plan.capture, device)


def describe_plans(artifact: Artifact) -> list[str]:
    """One line a plan for people, whatever machine it is for."""
    lines = []
    for path in _documents(artifact):
        try:
            plan = read_plan(path)
        except ArtifactError as error:
            lines.append(str(error).partition(";")[0])
            continue
        rows = ", ".join(map(str, plan.batch_sizes))
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


def _padding(sizes: tuple[int, ...], batch: int) -> tuple[int, int]:
    """(rows computed for nothing, parts) of a batch."""
    parts = pieces(batch, sizes)
    return sum(size for _, size in parts) - batch, len(parts)
