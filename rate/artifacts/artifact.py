"""An artifact: a folder with the perturbed graph, its weights, the parity sample, and the facts about them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec import structs

from rate.artifacts.external_weights import check_external
from rate.artifacts.folders import canonical, read_document, verify
from rate.artifacts.records import ArtifactDocument, HeadInfo
from rate.artifacts.remote import fetched_artifact
from rate.backends.base import Graph
from rate.data.storage.objects import url_of
from rate.errors import ArtifactError, UsageError
from rate.records import plain, record, write

ARTIFACT = "artifact.json"
GRAPH = "pixels.onnx"
TOKENS = "tokens.onnx"
INT8 = "pixels.xml"
PARITY = "parity.npz"
PARITY_TOKENS = "parity-tokens.npz"
PARITY_INT8 = "parity-int8.npz"
PROVEN = "torch"
"""The form of a generative model under `parity`."""


class Artifact(ArtifactDocument, frozen=True, kw_only=True):
    """A verified artifact, whose listed files exist and are unchanged."""

    path: Path
    url: str = ""  # of a remote one, of which ``path`` is the local copy

    @property
    def named(self) -> str:
        """The place of the artifact as it may be given to a command."""
        return self.url or str(self.path)

    def graph(self, form: str = "pixels", precision: str = "f32") -> Graph:
        """Describe the graph of a form and stored ``precision`` for a backend.

        Raises:
            UsageError: the artifact has no graph of that form and precision.
        """
        if self.asks:
            raise UsageError(
                f"{self.path} is a generative model, which runs in PyTorch alone, in f32, fp16 or bf16, and has no "
                "graph; leave --backend and --precision out, and use swaps or --saliency rise or occlusion"
            )
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

    def refuse_questions(self, asked: str, cure: str = "`rate eval` asks them, with swaps or --saliency rise") -> None:
        """Refuse a generative model for what has no question to ask.

        Raises:
            UsageError: it is one.
        """
        if self.asks:
            raise UsageError(f"{asked}: {self.path} is a generative model, which needs a question a row; {cure}")

    @property
    def digest(self) -> str:
        """The sha256 of everything that changes a result: graphs with their weights, geometry, classes, heads.

        The parity sample is excluded, because its logits differ in the last bits between machines.
        """
        stems = {Path(name).stem for name in self.graphs.values()}
        computing = {name: sha for name, sha in self.files.items() if name.partition(".")[0] in stems}
        content = {"files": computing, "input": self.geometry, "heads": self.heads}
        content |= {"weights": self.weights} if self.asks else {}  # which are in no file of the artifact
        return hashlib.sha256(canonical(plain(content))).hexdigest()

    @property
    def document(self) -> ArtifactDocument:
        """Return the content of artifact.json."""
        return record(ArtifactDocument, self)


def load_artifact(named: str | Path) -> Artifact:
    """Read an artifact in a folder or at an fsspec URL, and compare every file with its recorded sha256.

    Raises:
        ArtifactError: it is no artifact, is malformed, or a file of it is missing or has changed.
    """
    url = (url_of(named) or "").rstrip("/")
    path = fetched_artifact(url, ARTIFACT) if url else Path(named)
    document = read_document(path, ARTIFACT, ArtifactDocument)
    artifact = Artifact(path=path, url=url, **structs.asdict(document))
    check_heads(artifact.heads)
    verify(path, artifact.files)
    needed = {*artifact.graphs.values(), PARITY} | ({PARITY_TOKENS} if "tokens" in artifact.graphs else set())
    if "pixels-int8" in artifact.graphs:
        needed |= {PARITY_INT8, Path(artifact.graphs["pixels-int8"]).with_suffix(".bin").name}
    if missing := sorted(needed - set(artifact.files)):
        raise ArtifactError(f"{path / ARTIFACT} does not list {', '.join(missing)} under 'files'; it is malformed")
    _check_forms(artifact)
    for name in artifact.graphs.values():
        if name.endswith(".onnx"):
            check_external(path / name, frozenset(artifact.files))
    return artifact


def write_artifact(artifact: Artifact) -> None:
    """Write artifact.json into the artifact's folder, which holds the other files already."""
    write(artifact.path / ARTIFACT, artifact.document)


def check_heads(heads: Sequence[HeadInfo], error: type[Exception] = ArtifactError) -> None:
    """Refuse heads of equal names, and classes that are empty or repeat.

    Raises:
        error: with the names at fault.
    """
    names = [head.name for head in heads]
    if not heads or len(set(names)) < len(names):
        raise error(f"an artifact needs heads of different names, got {names}")
    for head in heads:
        if head.kind == "options" and not head.classes and len(heads) == 1:
            continue
        repeated = sorted(name for name, count in Counter(head.classes).items() if count > 1)
        if not head.classes or "" in head.classes or repeated:
            raise error(f"head {head.name!r} needs class names that are not empty and differ; repeated: {repeated[:5]}")


def _check_forms(artifact: Artifact) -> None:
    """Refuse a document that lacks facts about one of its graphs."""
    graphs, where = artifact.graphs, artifact.path / ARTIFACT
    if artifact.asks:
        if graphs or PROVEN not in artifact.parity:
            raise ArtifactError(f"{where}: a generative model has no graph, and the parity {PROVEN}; it is malformed")
        return
    if artifact.opset is None:
        raise ArtifactError(f"{where}: 'opset' must be a number where there are graphs; it is malformed")
    if lacking := sorted({"pixels", *graphs} - (graphs.keys() & artifact.parity.keys())):
        raise ArtifactError(f"{where}: 'graphs' and 'parity' must both have {', '.join(lacking)}; it is malformed")
    for form, field in (("tokens", "patches"), ("pixels-int8", "int8")):
        if (form in graphs) != (getattr(artifact, field) is not None):
            raise ArtifactError(f"{where}: {field!r} goes with a graph {form!r}, and without one it is null")
