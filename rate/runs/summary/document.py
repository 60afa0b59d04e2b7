"""summary.json: the numbers of a run as records."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from rate.records import Count, Document, Record, RunStatus, Share
from rate.runs.failures import Failure
from rate.runs.run_document import Rule
from rate.statistics.means import SwapMeans
from rate.statistics.metrics import RatioRecord
from rate.statistics.noise import NoiseFree


class MetricRecord(RatioRecord, frozen=True):
    """A `Metric` in a document."""

    uniform: Share | None
    shuffled: Share | None
    shuffled_ratio: Annotated[
        RatioRecord | None,
        Meta(description="of the samples that were swapped along another's region, too; null: of a run by maps"),
    ]
    noise: float | None
    bounds: Annotated[
        tuple[Share, Share] | None,
        Meta(description="PT if the correct predictions without a verdict were all on invalid evidence, and on valid"),
    ]
    without_noise: Annotated[NoiseFree | None, Meta(description="PT as endless masks would give it")]


class BesideUniform(RatioRecord, frozen=True):
    """A share, and what evidence spread evenly over the picture would give."""

    uniform: Share | None


class Also(Record, frozen=True):
    """The same rows under another rule."""

    evidence: str
    valid: str
    pt: BesideUniform
    ir: BesideUniform


class SweepPoint(Record, frozen=True):
    """PT and IR at one tau."""

    tau: float
    pt: Share | None
    ir: Share | None


class GroupRecord(Record, frozen=True):
    """The samples of one group."""

    n: Count
    accuracy: RatioRecord
    pt: RatioRecord
    ir: RatioRecord
    judged_accuracy: RatioRecord
    swap: SwapMeans | None


class Quadrants(Record, frozen=True):
    """Samples by prediction, then rationale: r right, w wrong."""

    rr: Count
    rw: Count
    wr: Count
    ww: Count


class HeadRecord(Record, frozen=True):
    """The numbers of one head in a document."""

    n: Count  # samples
    errors: Count  # number of samples without a prediction
    failures: tuple[Failure, ...]
    undefined: Count  # without a verdict
    capped: Count  # number of samples whose verdict is not clear
    forwards_mean: float | None
    rule: Rule
    clusters: Annotated[Count | None, Meta(description="of the samples; null: they have none")]
    accuracy: RatioRecord
    judged_accuracy: Annotated[RatioRecord, Meta(description="of the predictions with a verdict, to read IR beside")]
    counts: Quadrants
    pt: MetricRecord
    ir: MetricRecord
    swap: Annotated[SwapMeans | None, Meta(description="null: of a run by maps")]
    undefined_by: dict[str, Count]
    also: tuple[Also, ...]
    sweep: tuple[SweepPoint, ...]
    groups: dict[str, GroupRecord]


class Throughput(Record, frozen=True):
    """Over all sessions; null where no time was recorded."""

    images_per_s: float | None
    forwards_per_s: float | None
    waiting_for_data: Annotated[Share | None, Meta(description="of the time")]
    device_idle: Annotated[Share | None, Meta(description="of the time: between batches, for data or for the host")]
    batch_fill: Annotated[Share | None, Meta(description="of the rows computed: those that a verdict was taken from")]


class SummaryDocument(Document, frozen=True, tag="rate.summary/5"):
    """summary.json."""

    has_digest: ClassVar[bool] = True

    status: RunStatus
    throughput: Throughput
    heads: dict[str, HeadRecord]
