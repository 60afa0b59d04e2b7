"""The numbers of a run from its rows: accuracy, PT and IR with intervals, beside uniform maps and shuffled regions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rate.errors import UsageError
from rate.records import record, write
from rate.runs.failures import Failure
from rate.runs.parts import iter_parts, read_rows
from rate.runs.rows import RunStats
from rate.runs.run_document import Rule, RunDocument, read_run
from rate.runs.summary.document import (
    Also,
    BesideUniform,
    GroupRecord,
    HeadRecord,
    MetricRecord,
    Quadrants,
    SummaryDocument,
    SweepPoint,
    Throughput,
)
from rate.runs.summary.head_sums import SUMMED, HeadSums, read_sums
from rate.runs.summary.shuffled import take_sketches
from rate.runs.summary.slice_sums import Slice
from rate.statistics.means import SwapMeans
from rate.statistics.metrics import METRICS, Counts, Ratio, RatioRecord, ir, pt, pt_bounds, ratio
from rate.statistics.noise import NoiseFree
from rate.types import Json


@dataclass(frozen=True, slots=True)
class Metric:
    """PT or IR with its baselines."""

    ratio: Ratio
    uniform: float | None  # value for uniform maps, under the same rule
    shuffled: float | None  # value for other samples' regions
    noise: float | None  # standard deviation from the sampling of masks alone
    bounds: tuple[float, float] | None = None  # of PT; see `pt_bounds`
    without_noise: NoiseFree | None = None  # of PT; see `share_without_noise`
    shuffled_ratio: Ratio | None = None  # behind ``shuffled`` where swaps decide, of a share of the samples

    @property
    def document(self) -> MetricRecord:
        """Return the entry in a summary."""
        beside = {name: getattr(self, name) for name in ("uniform", "shuffled", "noise", "bounds", "without_noise")}
        shuffled = None if self.shuffled_ratio is None else record(RatioRecord, self.shuffled_ratio)
        return record(MetricRecord, ratio_json(self.ratio) | beside | {"shuffled_ratio": shuffled})


@dataclass(frozen=True, slots=True)
class HeadSummary:
    """The numbers of one head."""

    rule: Rule  # what was measured and when a rationale counts as valid
    rows: int
    counts: Counts
    accuracy: Ratio  # of all predictions
    judged_accuracy: Ratio  # of the predictions with a verdict, to read IR beside
    clusters: int | None  # number of clusters; None if there are none
    failures: tuple[Failure, ...]  # commonest reasons of failures
    undefined_by: dict[str, int]
    forwards_mean: float | None
    pt: Metric
    ir: Metric
    swap: SwapMeans | None  # None of a run by maps
    also: tuple[Also, ...]  # the same rows under the other rules
    sweep: tuple[SweepPoint, ...]  # PT and IR as functions of tau
    groups: dict[str, GroupRecord]

    @property
    def document(self) -> HeadRecord:
        """Return the entry in a summary."""
        return HeadRecord(
            n=self.rows,
            errors=self.counts.errors,
            failures=self.failures,
            undefined=self.counts.undefined,
            capped=self.counts.capped,
            forwards_mean=self.forwards_mean,
            rule=self.rule,
            clusters=self.clusters,
            accuracy=record(RatioRecord, self.accuracy),
            judged_accuracy=record(RatioRecord, self.judged_accuracy),
            counts=record(Quadrants, self.counts),
            pt=self.pt.document,
            ir=self.ir.document,
            swap=self.swap,
            undefined_by=self.undefined_by,
            also=self.also,
            sweep=self.sweep,
            groups=self.groups,
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """The results of a run."""

    run: Path
    status: str
    throughput: Throughput
    heads: dict[str, HeadSummary]
    notices: tuple[str, ...] = ()  # notices about its making, which are not in summary.json

    @property
    def errors(self) -> int:
        """The number of samples without a prediction."""
        return max((head.counts.errors for head in self.heads.values()), default=0)

    @property
    def samples(self) -> int:
        """The number of samples with a row."""
        return max((head.rows for head in self.heads.values()), default=0)

    def rows(self, head: str | None = None) -> pa.Table:
        """Read the rows of the run in order of id, of all heads or of one; `rate schema samples` has the columns.

        Raises:
            RunError: the folder is gone, as after an evaluation without ``out``, or damaged.
            UsageError: the run has no such head.
        """
        if head is not None and head not in self.heads:
            raise UsageError(f"{self.run} has no head {head!r}; it has {', '.join(self.heads)}")
        rows = read_rows(self.run, read_run(self.run)).sort_by("id")
        return rows if head is None else rows.filter(pc.equal(rows["head"], head))

    def __str__(self) -> str:
        """Format the run as `rate show` prints it."""
        from rate.runs.summary.text import as_text

        return as_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from rate.runs.summary.text import as_html

        return as_html(self)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give the rows to pandas, polars, DuckDB or pyarrow: `polars.DataFrame(summary)`; see `rows`."""
        return self.rows().__arrow_c_stream__(requested_schema)

    @property
    def document(self) -> SummaryDocument:
        """summary.json."""
        return record(
            SummaryDocument,
            {
                "status": self.status,
                "throughput": self.throughput,
                "heads": {name: head.document for name, head in self.heads.items()},
            },
        )


def load_summary(folder: Path) -> Summary:
    """Compute the summary of a run folder from its listed parts, complete or not.

    Raises:
        RunError: it is no run folder, or a damaged one.
    """
    return summarize(folder, read_run(folder))


def write_summary(folder: Path, summary: Summary) -> None:
    """Write summary.json."""
    write(folder / "summary.json", summary.document, digest=True)


def summarize(folder: Path, run: RunDocument) -> Summary:
    """Compute the summary of the listed parts."""
    return summary_of(folder, run, sums_of(folder, run))


def sums_of(folder: Path, run: RunDocument) -> dict[str, HeadSums]:
    """Sum the rows of every head of the listed parts."""
    return read_sums([head.name for head in run.heads], run.rule, lambda: iter_parts(folder, run, SUMMED))


def summary_of(folder: Path, run: RunDocument, sums: dict[str, HeadSums]) -> Summary:
    """Compute the summary of a run from the sums of its heads."""
    rings = {name: one.ring() for name, one in sums.items()}
    take_sketches({name: ring for name, ring in rings.items() if len(ring.rank)}, folder, run)
    heads = {name: _head(one, rings[name].counts()) for name, one in sums.items()}
    return Summary(folder, run.status, _throughput(run.sessions), heads)


def ratio_json(ratio: Ratio) -> Json:
    """Return a share with its interval and both its numbers as JSON."""
    low, high = ratio.interval or (None, None)
    return {
        "value": ratio.value,
        "low": low,
        "high": high,
        "numerator": ratio.numerator,
        "denominator": ratio.denominator,
        "clusters": ratio.clusters,
    }


def _head(sums: HeadSums, shuffled: Counts) -> HeadSummary:
    rule, whole = sums.rule, sums.whole
    trust, reliability = _beside(sums, whole, shuffled)
    return HeadSummary(
        rule=rule,
        rows=whole.rows,
        counts=whole.counts,
        accuracy=whole.ratio("accuracy"),
        judged_accuracy=whole.ratio("judged_accuracy"),
        clusters=whole.clusters,
        failures=sums.failures.commonest(),
        undefined_by=sums.undefined_by,
        forwards_mean=whole.forwards / whole.predictions if whole.predictions else None,
        pt=trust,
        ir=reliability,
        swap=whole.swap_means() if rule.verdict == "swap" else None,
        also=tuple(_also(sums)),
        # Early stopping for one threshold would bias the others.
        sweep=tuple(SweepPoint(tau, pt(counts).value, ir(counts).value) for tau, counts in sums.swept.items()),
        groups={name: _group(one, rule) for name, one in sums.slices("group")},
    )


def _group(own: Slice, rule: Rule) -> GroupRecord:
    ratios = {metric: record(RatioRecord, own.ratio(metric)) for metric in METRICS}
    return GroupRecord(n=own.rows, swap=own.swap_means() if rule.verdict == "swap" else None, **ratios)


def _beside(sums: HeadSums, whole: Slice, shuffled: Counts) -> tuple[Metric, Metric]:
    """Compute PT and IR with both baselines and the sampling noise."""
    noise = sums.noise_or_none
    deviations = (None, None) if noise is None else noise.deviations
    without_noise = None if noise is None else noise.without_noise(sums.clustered)
    swapped = {name: sums.shuffled.ratio(name) if sums.rule.verdict == "swap" else None for name in ("pt", "ir")}
    baselines = {name: (swapped[name] or ratio(name, shuffled)).value for name in swapped}
    uniform, bounds = sums.uniform, pt_bounds(whole.counts)
    return (
        Metric(
            whole.ratio("pt"), pt(uniform).value, baselines["pt"], deviations[0], bounds, without_noise, swapped["pt"]
        ),
        Metric(whole.ratio("ir"), ir(uniform).value, baselines["ir"], deviations[1], shuffled_ratio=swapped["ir"]),
    )


def _also(sums: HeadSums) -> Iterable[Also]:
    """Compute the same forwards under the other evidences and rules."""
    for kind, valid, whole, uniform in sums.also():
        pairs = ((whole.ratio(share), ratio(share, uniform).value) for share in ("pt", "ir"))
        yield Also(kind, valid, *(record(BesideUniform, ratio_json(one) | {"uniform": by}) for one, by in pairs))


def _throughput(sessions: Iterable[RunStats]) -> Throughput:
    """Compute over all sessions: images and forwards per second, and three shares.

    ``waiting_for_data`` and ``device_idle``: of the time; ``batch_fill``: of the computed rows, those behind a verdict.
    """
    total = sum(sessions, RunStats())
    seconds, rows = total.seconds, total.rows
    return Throughput(
        images_per_s=total.samples / seconds if seconds else None,
        forwards_per_s=total.forwards / seconds if seconds else None,
        waiting_for_data=total.waiting_s / seconds if seconds else None,
        device_idle=min(1.0, total.idle_s / seconds) if seconds else None,
        batch_fill=total.used / rows if rows and total.used else None,
    )
