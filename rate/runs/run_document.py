"""run.json: what was asked, by what, and how it ended. Its size does not depend on that of the set."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, structs

from rate.data.images.geometry import Geometry
from rate.errors import RunError
from rate.records import Count, Document, Record, RunStatus, Sha256, fits, plain, read, read_json, schema_id, write
from rate.runs.folder import part_files
from rate.runs.part_list import latest_session
from rate.runs.rows import RunStats
from rate.types import Json


class Identity(Record, frozen=True):
    """What changes a result beside the measurement."""

    schema: Annotated[str, Meta(description="of the run.json under which the identity was made")]
    numerics: Annotated[int, Meta(description="version of the computation: equal inputs give equal rows")]
    weights: Annotated[str, Meta(description="digest of the artifact's computation")]
    data: Annotated[str, Meta(description="digest of the samples, independent of their order")]
    geometry: Geometry
    pixel_path: str
    backend: str
    precision: str
    bank: Annotated[str, Meta(description="digest of the pictures that stand where a pixel is hidden")] = ""
    maps: Annotated[str | None, Meta(description="digest of the maps that were given")] = None


class RecordedReading(Record, frozen=True, omit_defaults=True):
    """How the set was read, as `rate.reading.Reading` has it."""

    root: Annotated[tuple[str, ...], Meta(description="as they were named")] = ()
    mask_values: str | None = None
    mask_ignore: str | None = None
    mask_classes: dict[str, str | int] | None = None
    instances: str | None = None
    columns: dict[str, str] | None = None
    box_format: str | None = None
    label_names: tuple[str, ...] | None = None


class Origin(Record, frozen=True, omit_defaults=True):
    """Where the artifact and the data were, as they were named; for display, and to find the images again."""

    artifact: str | None
    data: str | None
    split: str | None
    limit: int | None
    shard: str | None
    reading: RecordedReading = RecordedReading()
    maps: Annotated[str | None, Meta(description="where the maps were that were given")] = None
    predictions: Annotated[str | None, Meta(description="where the predictions were that were given")] = None
    data_from_run: Annotated[str | None, Meta(description="path from the run folder; absent if data is no path")] = None
    roots_from_run: Annotated[tuple[str, ...], Meta(description="paths from the run folder to the roots")] = ()


_DIGEST = re.compile("[0-9a-f]{40,}$")


class Rule(Record, frozen=True):
    """The measurement, and when a rationale counts as valid."""

    verdict: Literal["swap", "map"]
    fill: Annotated[str, Meta(description="what stands where a pixel is hidden")]
    evidence: Annotated[Literal["positive", "minmax", "raw", "share"], Meta(description="share: of swaps")]
    valid: Literal["midpoint", "absolute"]
    tau: Annotated[float, Meta(gt=0, lt=1)]
    explained: Literal["label", "prediction"]
    score: Annotated[
        Literal["logit", "centred", "log-odds", "probability"] | None, Meta(description="null: of maps that were given")
    ] = None
    saliency: str | None = None  # of a map
    masks: int | str | None = None
    blur: Annotated[str | None, Meta(description="of maps that were given")] = None
    fills: int | str | None = None  # of swaps
    margin: float | None = None
    ramp: float | None = None
    corrupt: str | None = None

    @property
    def column(self) -> str:
        """The column of a row that is compared with tau under the rule ``absolute``."""
        return "share" if self.evidence == "share" else f"rma_{self.evidence}"

    @property
    def judged_column(self) -> str:
        """The column of a row that is compared with tau."""
        return "localization" if self.valid == "midpoint" else self.column

    @property
    def quantity(self) -> str:
        """What is compared with tau, in words."""
        if self.verdict == "swap":
            return "share of the region"
        return "localization" if self.valid == "midpoint" else "relevance mass"

    @property
    def drawn(self) -> Literal["fill", "mask"]:
        """What is drawn at random for a verdict."""
        return "fill" if self.verdict == "swap" else "mask"

    @property
    def adaptive(self) -> bool:
        """Whether a sample takes as many rows as its own verdict needs."""
        return "auto" in (self.masks, self.fills)


class RecordedBank(Record, frozen=True):
    """The pictures that stand where a pixel is hidden, in order; none for other fills."""

    pictures: tuple[str, ...]  # ids
    skipped: tuple[str, ...]  # ids of pictures that could not be read, with the reason
    met: Count  # largest number of them that a sample meets


class ListedHead(Record, frozen=True):
    """A head of the model."""

    name: str
    classes: Count
    asks: Annotated[
        bool, Meta(description="a generative model in PyTorch: the classes are the options of each row's question")
    ] = False


class SampleCounts(Record, frozen=True):
    """Samples of this run, and of the whole set."""

    planned: Count
    available: Count


class RunDocument(Document, frozen=True, kw_only=True, tag="rate.run/7"):
    """run.json. Measurement and execution hold the settings by name; which there are depends on the method."""

    has_digest: ClassVar[bool] = True

    status: RunStatus
    key: Sha256
    measurement: Json
    identity: Identity
    rule: Rule
    execution: Json
    origin: Origin
    heads: Annotated[tuple[ListedHead, ...], Meta(min_length=1)]
    bank: RecordedBank = RecordedBank((), (), 0)
    samples: SampleCounts
    versions: dict[str, str]
    machine: dict[str, str]
    started: Annotated[str | None, Meta(description="null: run.json was lost and made again")]
    finished: str | None
    sessions: tuple[RunStats, ...]
    rows: Annotated[Count | None, Meta(description="that parts.jsonl lists; null: a process writes, or was killed")]


def differing(run: RunDocument, measurement: Json, identity: Json, words: tuple[str, str]) -> str:
    """Name the settings of a run that differ from others, each with both values; digests are shortened.

    Args:
        run: a run.
        measurement: the other settings.
        identity: the other identity.
        words: what stands after the value of the run, and after the other one.
    """
    pairs = [
        (f"{section}.{name}", known.get(name), others.get(name))
        for section, known, others in (
            ("measurement", run.measurement, measurement),
            ("identity", plain(run.identity), identity),
        )
        for name in {**others, **known}
        if known.get(name) != others.get(name)
    ]
    said = [f"{name}: {_short(one)} {words[0]}, {_short(other)} {words[1]}" for name, one, other in pairs]
    return "; ".join(said) or "another version of rate"


def _short(value: object) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and _DIGEST.match(value) else repr(value)


def write_run(folder: Path, run: RunDocument) -> None:
    """Write run.json; rule and identity have no entry for what they do not use.

    Raises:
        StorageError: it cannot be written.
    """
    value: Json = plain(run)
    used = {part: {k: v for k, v in value[part].items() if v is not None} for part in ("rule", "identity")}
    write(folder / "run.json", value | used, digest=True)


def read_run(folder: Path) -> RunDocument:
    """Read run.json of a run folder; the session of a process that writes, or was killed, is that of its latest part.

    Raises:
        RunError: there is none, it is damaged, or it is of another origin.
    """
    path = folder / "run.json"
    if part_files(folder):
        cure = f"its parts are there: `rate eval ... --out {folder} --repair`, with the run's arguments, makes it again"
    else:
        cure = f"`rate eval ... --out {folder}` makes one"
    if not os.path.lexists(path):
        inside = sorted(one.parent.name for one in folder.glob("*/run.json"))
        if inside and not part_files(folder):
            raise RunError(f"{folder} is not a run, it holds runs; name one, such as {folder / inside[0]}")
        raise RunError(f"{folder} is not a run folder: it has no run.json; {cure}")
    run = read(path, RunDocument, RunError, cure)
    latest = latest_session(folder) if run.rows is None else None
    if latest is None or latest.session != len(run.sessions):
        return run
    return structs.replace(run, sessions=(*run.sessions[:-1], latest.stats))


def is_unreadable(path: Path) -> bool:
    """Tell whether a run.json is damaged, so that none of it is used; one of another tool is not damaged."""
    try:
        run = read_json(path)
    except (OSError, ValueError):
        return True
    return isinstance(run, dict) and run.get("schema") == schema_id(RunDocument) and not fits(run, RunDocument)


def located(origin: Origin, run: Path) -> Origin:
    """Add the relative paths from the run folder to its roots and to its data, if the data is a path."""
    roots = tuple(os.path.relpath(Path(root).resolve(), run.resolve()) for root in origin.reading.root)
    origin = structs.replace(origin, roots_from_run=roots)
    if not origin.data or "://" in origin.data:
        return origin
    # The last link is not resolved: images are relative to the folder of the given name, not of its target.
    named = Path(origin.data).parent.resolve() / Path(origin.data).name
    return structs.replace(origin, data_from_run=os.path.relpath(named, run.resolve()))


def data_of(origin: Origin, run: Path) -> list[str]:
    """List the possible places of a run's data, the likeliest first: relative to the run, then as it was named."""
    seen = origin.data_from_run
    from_run = [] if seen is None else [os.path.normpath(run.resolve() / seen)]
    return list(dict.fromkeys([*from_run, *([origin.data] if origin.data else [])]))


def roots_of(origin: Origin, run: Path) -> list[str]:
    """List the roots of a run's data: each relative to the run if it is there, and otherwise as it was named."""
    here = [os.path.normpath(run.resolve() / seen) for seen in origin.roots_from_run]
    return [seen if Path(seen).is_dir() else named for seen, named in zip(here, origin.reading.root, strict=False)]
