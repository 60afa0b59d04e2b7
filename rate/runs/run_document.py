"""run.json: what was asked, by what, and which parts count."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from msgspec import Meta

from rate.records import Count, Document, Record, RunStatus, Sha256
from rate.runs.records import RunStats

Section: TypeAlias = dict[str, Any]
Identity: TypeAlias = Annotated[
    Section, Meta(extra_json_schema={"required": ["weights"], "properties": {"weights": {"type": "string"}}})
]


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
    """run.json."""

    has_digest: ClassVar[bool] = True

    status: RunStatus
    key: Sha256
    measurement: Section
    identity: Identity
    rule: Rule
    execution: Section
    origin: Section
    heads: Annotated[tuple[ListedHead, ...], Meta(min_length=1)]
    samples: SampleCounts
    versions: dict[str, str]
    machine: dict[str, str]
    started: Annotated[str | None, Meta(description="null: run.json was lost and made again")]
    finished: str | None
    sessions: tuple[RunStats, ...]
    parts: tuple[ListedPart, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.identity.get("weights"), str):
            raise ValueError("'identity' must have 'weights' that are a text")
