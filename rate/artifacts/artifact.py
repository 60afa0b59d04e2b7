"""The artifact: a folder with the perturbed graph, its weights once, the parity sample, and the facts about them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rate.artifacts.external_weights import check_external
from rate.artifacts.folders import canonical, check_document, field, read_document, strings, verify
from rate.artifacts.schemas import ARTIFACT as ARTIFACT_SCHEMA
from rate.backends.base import Graph
from rate.data.images.geometry import Geometry
from rate.errors import ArtifactError, ConfigError, UsageError
from rate.files import write_json
from rate.types import Json

ARTIFACT = "artifact.json"
ARTIFACT_SCHEMA_ID = "rate.artifact/1"
GRAPH = "pixels.onnx"
TOKENS = "tokens.onnx"
INT8 = "pixels.xml"
PARITY = "parity.npz"
PARITY_TOKENS = "parity-tokens.npz"
PARITY_INT8 = "parity-int8.npz"


@dataclass(frozen=True, slots=True)
class HeadInfo:
    """One classifier on the tower: graph output `logits_<name>` [b,c]."""

    name: str
    kind: str  # "linear" | "zero-shot"
    classes: tuple[str, ...]  # in the order of the logits, unique

    @property
    def output(self) -> str:
        """Name of the graph output."""
        return f"logits_{self.name}"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified artifact: every listed file is there and unchanged."""

    path: Path
    family: str
    source: str  # the SOURCE that was exported, as it was written
    weights: str  # digest of the source's weights
    geometry: Geometry
    heads: tuple[HeadInfo, ...]
    precision: str  # the lowest it holds: f32 | fp16 | bf16 | int8
    opset: int
    graphs: dict[str, str]  # form ("pixels", "tokens", "pixels-fp16", "pixels-int8") -> file name
    files: dict[str, str]  # file name -> sha256
    parity: Json
    versions: dict[str, str]
    patches: int | None = None  # a side, of the token graph; None = it has none
    int8: Json | None = None  # calibration, parity and flips of the int8 graph
    request: Json | None = None  # beside SOURCE, what a PyTorch model was asked for: classes, templates, heads

    def graph(self, form: str = "pixels", precision: str = "f32") -> Graph:
        """The graph of a form as a backend needs to know it; ``precision``: that it is stored in.

        Raises:
            UsageError: the artifact has no graph of that form and precision.
        """
        name = form if precision == "f32" else f"{form}-{precision}"
        if precision != "f32" and name not in self.graphs:
            raise UsageError(
                f"{self.path} has no {form} graph in {precision}; use --precision auto or --saliency rise, or export "
                f"it again with --precision {precision}" + (" --calibrate MANIFEST" if precision == "int8" else "")
            )
        if form not in self.graphs:
            raise UsageError(
                f"{self.path} has no {form} graph, only {', '.join(self.graphs)}; export it again with --{form}, "
                "or use --saliency rise"
            )
        heads = tuple(head.name for head in self.heads)
        patches = self.patches if form == "tokens" else None
        return Graph(self.path / self.graphs[name], heads, self.geometry.size, precision, patches)

    @property
    def digest(self) -> str:
        """sha256 of what changes a result: graphs with their weights, geometry, classes, heads.

        The parity sample is left out: its logits differ in the last bits from one machine to the next.
        """
        stems = {Path(name).stem for name in self.graphs.values()}
        computing = {name: sha for name, sha in self.files.items() if name.partition(".")[0] in stems}
        document = self.to_json()
        content = {"files": computing} | {key: document[key] for key in ("input", "classes", "heads")}
        return hashlib.sha256(canonical(content)).hexdigest()

    def to_json(self) -> Json:
        """The content of artifact.json."""
        shared = self.heads[0].classes
        return {
            "schema": ARTIFACT_SCHEMA_ID,
            "family": self.family,
            "source": self.source,
            "weights": self.weights,
            "input": self.geometry.to_json(),
            "classes": list(shared),
            "heads": [_head_to_json(head, shared) for head in self.heads],
            "graphs": self.graphs,
            "precision": self.precision,
            "opset": self.opset,
            "files": self.files,
            "parity": self.parity,
            "versions": self.versions,
        } | {key: getattr(self, key) for key in ("patches", "int8", "request") if getattr(self, key) is not None}


def load_artifact(path: Path) -> Artifact:
    """Read an artifact and compare every file with its recorded sha256.

    Raises:
        ArtifactError: ``path`` is no artifact, is malformed, or a file of it is missing or has changed.
    """
    document = read_document(path, ARTIFACT, ARTIFACT_SCHEMA_ID)
    artifact = _from_json(path, document)
    verify(path, artifact.files)
    needed = {*artifact.graphs.values(), PARITY} | ({PARITY_TOKENS} if "tokens" in artifact.graphs else set())
    if "pixels-int8" in artifact.graphs:
        needed |= {PARITY_INT8, Path(artifact.graphs["pixels-int8"]).with_suffix(".bin").name}
    if missing := sorted(needed - set(artifact.files)):
        raise ArtifactError(f"{path / ARTIFACT} does not list {', '.join(missing)} under 'files'; it is malformed")
    check_document(document, ARTIFACT_SCHEMA, path / ARTIFACT)
    for name in artifact.graphs.values():
        if name.endswith(".onnx"):
            check_external(path / name, frozenset(artifact.files))
    return artifact


def write_artifact(artifact: Artifact) -> None:
    """Write artifact.json into the artifact's folder, whose other files are there already."""
    write_json(artifact.path / ARTIFACT, artifact.to_json())


def check_heads(heads: Sequence[HeadInfo], error: type[Exception] = ArtifactError) -> None:
    """Refuse heads of equal names, and classes that are empty or repeat.

    Raises:
        error: with the names at fault.
    """
    names = [head.name for head in heads]
    if not heads or len(set(names)) < len(names):
        raise error(f"an artifact needs heads of different names, got {names}")
    for head in heads:
        repeated = sorted({name for name in head.classes if head.classes.count(name) > 1}) if _repeats(head) else []
        if not head.classes or "" in head.classes or repeated:
            raise error(f"head {head.name!r} needs class names that are not empty and differ; repeated: {repeated[:5]}")


def _repeats(head: HeadInfo) -> bool:
    return len(set(head.classes)) < len(head.classes)


def _head_to_json(head: HeadInfo, shared: tuple[str, ...]) -> Json:
    own = {} if head.classes == shared else {"classes": list(head.classes)}
    return {"name": head.name, "kind": head.kind, "output": head.output} | own


def _from_json(path: Path, document: Json) -> Artifact:
    where = path / ARTIFACT
    classes = strings(document, "classes", where)
    heads = tuple(_head_from_json(value, classes, where) for value in field(document, "heads", list, where))
    check_heads(heads)
    graphs, files = field(document, "graphs", dict, where), field(document, "files", dict, where)
    for form in graphs:
        field(graphs, form, str, where)
    if "pixels" not in graphs:
        raise ArtifactError(f"{where}: 'graphs' must name a 'pixels' graph, got {sorted(graphs)}; it is malformed")
    try:
        geometry = Geometry.from_json(field(document, "input", dict, where))
    except ConfigError as error:
        raise ArtifactError(f"{where}: 'input' is malformed: {error}") from error
    return Artifact(
        path=path,
        family=field(document, "family", str, where),
        source=field(document, "source", str, where),
        weights=field(document, "weights", str, where),
        geometry=geometry,
        heads=heads,
        precision=field(document, "precision", str, where),
        opset=field(document, "opset", int, where),
        graphs=graphs,
        files=files,
        parity=field(document, "parity", dict, where),
        versions=field(document, "versions", dict, where),
        patches=field(document, "patches", int, where) if "tokens" in graphs else None,
        int8=field(document, "int8", dict, where) if "pixels-int8" in graphs else None,
        request=field(document, "request", dict, where) if "request" in document else None,
    )


def _head_from_json(value: Any, shared: tuple[str, ...], where: Path) -> HeadInfo:
    if not isinstance(value, dict):
        raise ArtifactError(f"{where}: 'heads' must be a list of objects, got {value!r}; it is malformed")
    classes = strings(value, "classes", where) if "classes" in value else shared
    head = HeadInfo(field(value, "name", str, where), field(value, "kind", str, where), classes)
    if value.get("output") != head.output:
        raise ArtifactError(
            f"{where}: the output of head {head.name!r} must be {head.output!r}, got {value.get('output')!r}"
        )
    return head
