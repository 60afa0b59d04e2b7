"""The document of `rate compare --json`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from rate.records import AtLeastOne, Count, Document, Record, RunStatus, Share, Signed
from rate.statistics.means import SampleMean
from rate.statistics.metrics import STATES, RatioRecord

State: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": list(STATES)})]


class StateChange(Record, frozen=True, rename={"before": "from", "after": "to"}):
    """A sample whose state of `STATES` differs between the two heads."""

    id: str
    before: State
    after: State


class McNemarRecord(Record, frozen=True):
    """The samples that have a property in one head only, with the exact two-sided p of no difference.

    Of enough clusters the difference of each is one observation (`sign_flip`), and else each sample is (`mcnemar`).
    """

    only_first: Count
    only_second: Count
    p: Share  # 1 if no sample differs


class DifferenceRecord(Record, frozen=True):
    """A `Difference` in a document: the second less the first."""

    first: RatioRecord
    second: RatioRecord
    value: Signed | None
    low: Signed | None
    high: Signed | None
    method: Literal["bootstrap", "mover", "cluster-bootstrap", "undefined"]


class MeanDifferenceRecord(Record, frozen=True):
    """A `Difference` of means in a document: the second less the first."""

    first: SampleMean
    second: SampleMean
    value: float | None
    low: float | None
    high: float | None
    method: Literal["mover", "undefined"]


class PairRecord(Record, frozen=True):
    """Two heads over the samples that both have."""

    first: str
    second: str
    paired: Count
    only_first: Count  # samples that the other lacks
    only_second: Count
    units: Annotated[Literal["clusters", "samples"], Meta(description="of intervals and tests")]
    clusters: AtLeastOne | None
    differences: dict[str, DifferenceRecord]  # by metric
    means: Annotated[dict[str, MeanDifferenceRecord], Meta(description="by metric; none of runs by maps")]
    mcnemar: dict[str, McNemarRecord]  # accuracy | validity
    moves: dict[State, dict[State, Count]]
    changed: tuple[StateChange, ...]
    conclusions: tuple[str, ...]


class ComparedHead(Record, frozen=True):
    """A head of a comparison."""

    name: str
    run: str  # its folder
    head: str
    status: RunStatus


class ComparisonDocument(Document, frozen=True, tag="rate.comparison/4"):
    """A comparison of heads with a baseline."""

    baseline: str
    heads: tuple[ComparedHead, ...]
    pairs: tuple[PairRecord, ...]
    notices: tuple[str, ...]
    caveat: str | None
