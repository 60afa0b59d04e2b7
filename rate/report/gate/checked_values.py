"""The values that a gate checks: a metric of one head, or its drop against another, for the whole head or by slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rate.report.compare.compare import Pair
from rate.report.gate.policy import COUNTED, MEANS, Check
from rate.report.heads import HeadRun
from rate.runs.summary.slice_sums import Slice
from rate.statistics.intervals import Spread, Units
from rate.statistics.means import SampleMean
from rate.statistics.metrics import Ratio
from rate.statistics.paired import Difference

_BY_MAPS = "undefined: {} is measured by swaps, and {} is a run by maps; evaluate with --verdict swap"

COLUMN = {"class": "label", "group": "group"}
"""The column of a row that names its slice; a class is the true one."""


@dataclass(frozen=True, slots=True)
class CheckedValue:
    """A measured metric. For a drop, value and interval are those of candidate - baseline."""

    n: int  # samples of the slice or of the head; for a drop, those of both heads
    denominator: int  # denominator of the metric itself
    numerator: int | None = None  # None for a mean or a rate
    value: float | None = None  # None if it is undefined
    low: float | None = None  # 95 %; None if there is no interval
    high: float | None = None
    candidate: float | None = None  # the two values of a drop
    baseline: float | None = None
    baseline_denominator: int | None = None  # None unless it is the drop of a ratio
    units: Units | None = None  # of the interval; None without one
    spread: Spread | None = None  # of the clusters behind a share
    missing: str | None = None  # reason if nothing could be computed
    undefined: str | None = None  # reason if the run does not measure it

    @property
    def support(self) -> int:
        """The number of samples behind the value; for a drop, that of the smaller side."""
        return (
            self.denominator if self.baseline_denominator is None else min(self.denominator, self.baseline_denominator)
        )


Named = Iterator[tuple[str | None, CheckedValue]]


def readings(check: Check, candidate: HeadRun, pair: Pair | None) -> Named:
    """Return (slice, reading) of every slice of a check in order of name, or (None, reading) of the whole head.

    Args:
        check: the check.
        candidate: the head under test.
        pair: baseline and candidate; None without a baseline, in which case ``check`` is no drop.
    """
    before = pair if check.is_drop else None
    if check.metric in MEANS and candidate.run.rule.verdict != "swap":
        yield None, CheckedValue(candidate.slice.rows, 0, undefined=_BY_MAPS.format(check.metric, candidate.name))
    elif check.metric == "images_per_s":
        yield None, _throughput(candidate, before.first if before else None)
    elif before is None:
        for name, own in _slices(candidate, check.slice):
            yield name, _read(check, own)
    else:  # the clusters of a slice are the units if it has enough of them
        for name, joint in before.slices(None if check.slice is None else COLUMN[check.slice]):
            difference = (
                joint.mean_difference(check.metric) if check.metric in MEANS else joint.difference(check.metric)
            )
            yield name, _drop(difference, joint.paired, joint.units)


def measured(reading: CheckedValue) -> str:
    """Format value, interval and fraction, as far as they exist."""
    said = "" if reading.value is None else number(reading.value)
    if interval := interval_text(reading):
        said += f" [{interval}]"
    if reading.candidate is not None and reading.baseline is not None:
        said += f" ({number(reading.candidate)} after {number(reading.baseline)})"
    if reading.numerator is not None:
        said += f"{', ' if said else ''}{reading.numerator}/{reading.denominator}"
    return said


def interval_text(reading: CheckedValue) -> str:
    """Format both ends of the interval, or an empty text without one."""
    if reading.low is None or reading.high is None:
        return ""
    return f"{number(reading.low)} to {number(reading.high)}"


def number(value: float) -> str:
    """Format four figures, without an exponent for a large count."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def printable(text: str) -> str:
    """Escape names of classes, which are untrusted and must not move the cursor or start a new line."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _slices(head: HeadRun, by: str | None) -> Iterator[tuple[str | None, Slice]]:
    """Yield (name, sums) of every slice in order of name, or all rows as one without a name."""
    return iter([(None, head.slice)]) if by is None else head.sums.slices(COLUMN[by])


def _read(check: Check, own: Slice) -> CheckedValue:
    n = own.rows
    if check.metric == "forwards":
        used = own.predictions
        return CheckedValue(n, used, value=own.forwards / used if used else None)
    if check.metric in MEANS:
        mean = own.mean(check.metric)
        return CheckedValue(n, mean.samples, value=mean.value, low=mean.low, high=mean.high, units=Units(mean.clusters))
    ratio = own.share(check.metric) if check.metric in COUNTED else own.ratio(check.metric)
    if check.is_count:
        return CheckedValue(n, n, ratio.numerator, float(ratio.numerator))
    return CheckedValue(
        n=n,
        denominator=ratio.denominator,
        numerator=ratio.numerator,
        value=ratio.value,
        low=ratio.low,
        high=ratio.high,
        units=Units(ratio.clusters),
        spread=ratio.spread,
    )


def _drop(difference: Difference, n: int, units: Units) -> CheckedValue:
    second, first = difference.second, difference.first
    return CheckedValue(
        n=n,
        denominator=_denominator(second),
        numerator=None if isinstance(second, SampleMean) else second.numerator,
        value=difference.value,
        low=difference.low,
        high=difference.high,
        candidate=second.value,
        baseline=first.value,
        baseline_denominator=_denominator(first),
        units=units,
    )


def _denominator(share: Ratio | SampleMean) -> int:
    return share.samples if isinstance(share, SampleMean) else share.denominator


def _throughput(candidate: HeadRun, baseline: HeadRun | None) -> CheckedValue:
    """Return the throughput of the whole run; a run without times has none."""
    n = candidate.slice.rows
    paces: list[float] = []
    for head in (candidate, baseline):
        if head is None:
            continue
        if (pace := head.whole.throughput.images_per_s) is None:
            return CheckedValue(n, n, missing=f"{head.folder} recorded no time, so it has no images per second")
        paces.append(pace)
    if baseline is None:
        return CheckedValue(n, n, value=paces[0])
    return CheckedValue(n, n, value=paces[0] - paces[1], candidate=paces[0], baseline=paces[1])
