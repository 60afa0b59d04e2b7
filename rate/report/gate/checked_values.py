"""The values that a gate checks: a metric of one head, or its drop against another, for the whole head or by slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.report.compare.compare import Pair
from rate.report.compare.pairing import in_common, joint_tables, mean_differences
from rate.report.gate.policy import COUNTED, MEANS, Check
from rate.report.heads import HeadRun
from rate.runs.head_rows import clusters_of, column_values, slices, states
from rate.statistics.intervals import Spread, Units
from rate.statistics.means import LEAST, SampleMean, mean_of, swap_values
from rate.statistics.metrics import QUADRANTS, STATES, Ratio, sample_ratio, share_of
from rate.statistics.paired import Difference, difference
from rate.types import Bool, Codes, Int64

_BY_MAPS = "undefined: {} is measured by swaps, and {} is a run by maps; evaluate with --verdict swap"

COLUMN = {"class": "label", "group": "group"}
"""The column of a row that names its slice; a class is the true one."""


@dataclass(frozen=True, slots=True)
class Reading:
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


Named = Iterator[tuple[str | None, Reading]]


def readings(check: Check, candidate: HeadRun, pair: Pair | None) -> Named:
    """Return (slice, reading) of every slice of a check in order of name, or (None, reading) of the whole head.

    Args:
        check: the check.
        candidate: the head under test.
        pair: baseline and candidate; None without a baseline, in which case ``check`` is no drop.
    """
    before = pair if check.is_drop else None
    if check.metric in MEANS and candidate.run.rule.verdict != "swap":
        yield None, Reading(len(candidate.rows), 0, undefined=_BY_MAPS.format(check.metric, candidate.name))
    elif check.metric == "images_per_s":
        yield None, _throughput(candidate, before.first if before else None)
    elif before is None:
        for name, at in _slices(candidate.rows, check.slice):
            yield name, _read(check, candidate.rows.take(at))
    elif check.slice is None:
        yield None, _drop(before.differences[check.metric], before.paired, before.units)
    elif check.metric in MEANS:
        yield from _mean_drops(check.metric, check.slice, before)
    else:
        yield from _drops(check.metric, check.slice, before)


def measured(reading: Reading) -> str:
    """Format value, interval and fraction, as far as they exist."""
    said = "" if reading.value is None else number(reading.value)
    if interval := interval_text(reading):
        said += f" [{interval}]"
    if reading.candidate is not None and reading.baseline is not None:
        said += f" ({number(reading.candidate)} after {number(reading.baseline)})"
    if reading.numerator is not None:
        said += f"{', ' if said else ''}{reading.numerator}/{reading.denominator}"
    return said


def interval_text(reading: Reading) -> str:
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


def _slices(rows: pa.Table, by: str | None) -> Iterator[tuple[str | None, Int64]]:
    """Yield (name, positions of its rows) of every slice in order of name, or all rows as one without a name."""
    return iter([(None, np.arange(len(rows)))]) if by is None else slices(rows[COLUMN[by]])


def _read(check: Check, rows: pa.Table) -> Reading:
    n = len(rows)
    if check.metric == "forwards":
        used = rows.filter(pc.is_null(rows["error"]))["forwards"]
        return Reading(n, len(used), value=pc.mean(used).as_py())
    if check.metric in MEANS:
        mean = _mean(check.metric, rows)
        return Reading(n, mean.samples, value=mean.value, low=mean.low, high=mean.high, units=Units(mean.clusters))
    ratio = _ratio(check.metric, rows)
    if check.is_count:
        return Reading(n, n, ratio.numerator, float(ratio.numerator))
    return Reading(
        n=n,
        denominator=ratio.denominator,
        numerator=ratio.numerator,
        value=ratio.value,
        low=ratio.low,
        high=ratio.high,
        units=Units(ratio.clusters),
        spread=ratio.spread,
    )


def _mean(metric: str, rows: pa.Table) -> SampleMean:
    values, clusters = swap_values(metric, partial(column_values, rows)), clusters_of(rows)
    swapped = np.isfinite(values)
    return mean_of(values[swapped], None if clusters is None else clusters[swapped], LEAST[metric])


def _ratio(metric: str, rows: pa.Table) -> Ratio:
    codes, clusters = states(rows), clusters_of(rows)
    if metric in COUNTED:
        return share_of(_counted(metric, codes, rows), clusters)
    return sample_ratio(metric, codes, clusters)


def _counted(metric: str, codes: Codes, rows: pa.Table) -> Bool:
    if metric == "capped":
        settled = np.asarray(pc.equal(rows["settled"], "capped").to_numpy(), np.bool_)
        return np.asarray(settled & (codes < len(QUADRANTS)))
    wanted = ("undefined_right", "undefined_wrong") if metric == "undefined" else ("error",)
    return np.isin(codes, [STATES.index(state) for state in wanted])


def _drops(metric: str, by: str, pair: Pair) -> Named:
    """Compute the drop of every slice; its own clusters are the units if it has enough of them."""
    before, after = in_common(pair.first, pair.second)
    first, second = states(before), states(after)
    for name, at in _slices(after, by):
        tables, units = joint_tables(after.take(at), first[at], second[at])
        yield name, _drop(difference(metric, tables), len(at), units)


def _mean_drops(metric: str, by: str, pair: Pair) -> Named:
    """Compute the drop of a mean in every slice; its own clusters are the units if it has enough of them."""
    before, after = in_common(pair.first, pair.second)
    for name, at in _slices(after, by):
        clusters = clusters_of(after.take(at))
        differences = mean_differences(before.take(at), after.take(at), clusters)
        units = Units(None if clusters is None else int(clusters.max()) + 1)
        yield name, _drop(differences[metric], len(at), units)


def _drop(difference: Difference, n: int, units: Units) -> Reading:
    second, first = difference.second, difference.first
    return Reading(
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


def _throughput(candidate: HeadRun, baseline: HeadRun | None) -> Reading:
    """Return the throughput of the whole run; a run without times has none."""
    n = len(candidate.rows)
    paces: list[float] = []
    for head in (candidate, baseline):
        if head is None:
            continue
        if (pace := head.whole.throughput.images_per_s) is None:
            return Reading(n, n, missing=f"{head.folder} recorded no time, so it has no images per second")
        paces.append(pace)
    if baseline is None:
        return Reading(n, n, value=paces[0])
    return Reading(n, n, value=paces[0] - paces[1], candidate=paces[0], baseline=paces[1])
