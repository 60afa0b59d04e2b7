"""run.json: what was asked, by what, and which parts count."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from rate.data.images.geometry import Geometry
from rate.records import Count, Document, Record, RunStatus, Sha256, plain, write
from rate.runs.records import RunStats
from rate.types import Json


class Identity(Record, frozen=True):
    """What changes a result beside the measurement."""

    schema: Annotated[str, Meta(description="of the run.json under which the identity was made")]
    weights: Annotated[str, Meta(description="digest of the artifact's computation")]
    data: Annotated[str, Meta(description="digest of the samples, independent of their order")]
    geometry: Geometry
    pixel_path: str
    backend: str
    precision: str


class Origin(Record, frozen=True, omit_defaults=True):
    """Where the artifact and the data were, as they were named; for display, and to find the images again."""

    artifact: str | None
    data: str | None
    split: str | None
    limit: int | None
    shard: str | None
    data_from_run: Annotated[str | None, Meta(description="path from the run folder; absent if data is no path")] = None


class Rule(Record, frozen=True):
    """The measurement, and when a rationale counts as valid."""

    evidence: Literal["positive", "minmax", "raw"]
    valid: Literal["midpoint", "absolute"]
    tau: Annotated[float, Meta(gt=0, lt=1)]
    saliency: str
    masks: int | str
    explained: Literal["label", "prediction"]
    score: Literal["logit", "probability"]
    corrupt: str | None = None


class ListedPart(Record, frozen=True):
    """A part that counts. It has a name and no path: it is read and, when it is listed no more, deleted."""

    name: Annotated[str, Meta(pattern=r"^part-[0-9a-f]+\.parquet$")]
    rows: Count
    errors: Annotated[Count, Meta(description="rows of samples that failed")] = 0


class ListedHead(Record, frozen=True):
    """A head of the model."""

    name: str
    classes: Count


class SampleCounts(Record, frozen=True):
    """Samples of this run, and of the whole set."""

    planned: Count
    available: Count


class RunDocument(Document, frozen=True, kw_only=True, tag="rate.run/2"):
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
    samples: SampleCounts
    versions: dict[str, str]
    machine: dict[str, str]
    started: Annotated[str | None, Meta(description="null: run.json was lost and made again")]
    finished: str | None
    sessions: tuple[RunStats, ...]
    parts: tuple[ListedPart, ...]


def write_run(folder: Path, run: RunDocument) -> None:
    """Write run.json; a rule has no entry for what it does not use.

    Raises:
        StorageError: it cannot be written.
    """
    value: Json = plain(run)
    rule = {name: one for name, one in value["rule"].items() if one is not None}
    write(folder / "run.json", value | {"rule": rule}, digest=True)
