"""TensorRT plans beside an artifact: `plans/<key16>.plan`, with their facts in `<key16>.json`.

A plan belongs to one version of TensorRT on one model of GPU, so it is not in the artifact's own list of digests. Its
key digests everything of which it was made; the document holds the facts behind the key, and the sha256 of the plan.

A plan is executable code, and an artifact may be of untrusted origin. The digest of every document that this user wrote
is kept in this user's own state folder; plans of other documents are not loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import structs

from rate.artifacts.artifact import Artifact
from rate.artifacts.folders import PLANS, canonical, read_document
from rate.artifacts.records import Facts, PlanDocument
from rate.backends.base import Graph
from rate.backends.tensorrt import TensorRtSpec, split_rows
from rate.backends.tensorrt_library import Gpu, load_tensorrt, open_gpu
from rate.errors import ArtifactError, UsageError
from rate.records import plain, record, write
from rate.types import Json

PRECISIONS = ("fp16", "bf16", "f32")
"""The precisions of graphs for plans, the fastest first."""


class Plan(PlanDocument, frozen=True, kw_only=True):
    """The description of a plan."""

    path: Path  # path of the plan itself

    @property
    def precision(self) -> str:
        """The precision of the graph."""
        return self.facts.precision

    @property
    def document(self) -> PlanDocument:
        """Return the document beside the plan."""
        return record(PlanDocument, self)


def plan_graph(artifact: Artifact, precision: str) -> Graph:
    """Return the graph of which a plan of this precision is built.

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
    """Return the facts that a plan and this machine must share."""
    return {
        "tensorrt": str(library.__version__),
        "gpu": gpu.name,
        "capability": gpu.capability,
        "cuda": gpu.cuda,
    }


def facts_of(
    machine: dict[str, str], artifact: Artifact, graph: Graph, profiles: Sequence[Mapping[str, Any]], flags: Json
) -> Facts:
    """Return all facts of which a plan is made.

    ``onnx`` lists every graph and weight file of the artifact, since a graph names its weight files itself.
    """
    onnx = {name: sha for name, sha in artifact.files.items() if ".onnx" in name}
    about = {"graph": graph.path.name, "precision": graph.precision, "onnx": onnx}
    return record(Facts, machine | about | {"profiles": profiles, "flags": flags})


def key_of(document: object) -> str:
    """Compute the digest of facts or of a whole description, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(plain(document))).hexdigest()


def plan_path(artifact: Path, facts: Facts) -> Path:
    """Return the path of the plan with these facts."""
    return artifact / PLANS / f"{key_of(facts)[:16]}.plan"


def state_folder() -> Path:
    """Return the folder of this user's state: `$XDG_STATE_HOME/rate`, by default `~/.local/state/rate`.

    Raises:
        UsageError: the folder cannot be made.
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
    """Write the description of an existing plan, and remember its digest; plans without it are never loaded."""
    (state_folder() / PLANS / key_of(plan.document)).touch()
    write(plan.path.with_suffix(".json"), plan.document)


def read_plan(path: Path) -> Plan:
    """Read the description `<key16>.json`; the plan's own digest is compared when it is loaded.

    Raises:
        ArtifactError: it is malformed, changed, or of another user.
    """
    document = read_document(path.parent, path.name, PlanDocument)
    again = "build it again here: rate export ARTIFACT --format tensorrt"
    key = key_of(document.facts)
    if key != document.key or path.stem != key[:16]:
        raise ArtifactError(f"{path} has the key {document.key!r}, its facts have {key}; {again}")
    if not (state_folder() / PLANS / key_of(document)).exists():
        raise ArtifactError(
            f"{path} was changed, or written by another user or on another machine, and plans are executable; {again}"
        )
    return Plan(path=path.with_suffix(".plan"), **structs.asdict(document))


def planned(artifact: Artifact) -> tuple[str, ...]:
    """List the precisions of the artifact's plans, the fastest first, as their documents state them."""
    built: set[str] = set()
    for path in _documents(artifact):
        try:
            built.add(read_document(path.parent, path.name, PlanDocument).facts.precision)
        except ArtifactError:
            continue
    return tuple(precision for precision in PRECISIONS if precision in built)


def plan_spec(artifact: Artifact, precision: str, batch: int, device: str = "cuda:0") -> TensorRtSpec:
    """Choose the plan of an artifact for the GPU ``device`` that pads batches of ``batch`` rows the least.

    Raises:
        UsageError: there is none; the message names what each one lacks, and how to build one.
        BackendError: there is no GPU.
    """
    graph = plan_graph(artifact, precision)
    machine = machine_facts(open_gpu(device), load_tensorrt())
    wanted = facts_of(machine, artifact, graph, [], {})
    fitting, reasons = [], []
    for path in _documents(artifact):
        try:
            plan = read_plan(path)
        except ArtifactError as error:
            reasons.append(str(error).partition(";")[0])
            continue
        if plan.precision != precision:
            continue
        names = (*machine, "graph", "onnx")
        if differing := [name for name in names if getattr(plan.facts, name) != getattr(wanted, name)]:
            reasons.append(f"{path.name} was built for {_differences(plan.facts, wanted, differing)}")
        else:
            fitting.append(plan)
    if not fitting:
        causes = ", ".join(reasons) or "none was built"
        raise UsageError(
            f"{artifact.path} has no TensorRT plan in {precision} for this machine ({causes}); build one here: "
            f"rate export {artifact.path} --format tensorrt --precision {precision}"
        )
    plan = min(fitting, key=lambda plan: _padding(plan.batch_sizes, batch))
    return TensorRtSpec(graph, plan.path, plan.sha256, plan.batch_sizes, plan.capture, device)


def describe_plans(artifact: Artifact) -> list[str]:
    """Format one line for each plan, for any machine."""
    lines = []
    for path in _documents(artifact):
        try:
            plan = read_plan(path)
        except ArtifactError as error:
            lines.append(str(error).partition(";")[0])
            continue
        rows = ", ".join(map(str, plan.batch_sizes))
        lines.append(
            f"tensorrt {plan.facts.tensorrt}, {plan.precision}, batches of {rows} rows, {plan.facts.gpu}"
            + ("" if plan.attentions is None else f", {plan.attentions} fused attentions")
            + ("" if plan.capture else ", without CUDA graphs")
        )
    return lines


def _documents(artifact: Artifact) -> list[Path]:
    return sorted((artifact.path / PLANS).glob("*.json"))


def _differences(facts: Facts, wanted: Facts, names: list[str]) -> str:
    told = [f"{name} {getattr(facts, name)}, here it is {getattr(wanted, name)}" for name in names if name != "onnx"]
    return " and ".join(told + ["other weights"] * ("onnx" in names))


def _padding(sizes: tuple[int, ...], batch: int) -> tuple[int, int]:
    """Compute (padding rows, parts) of a batch."""
    parts = split_rows(batch, sizes)
    return sum(size for _, size in parts) - batch, len(parts)
