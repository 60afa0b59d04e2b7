"""A check held against one measured value: kept, violated or undecided, and slices of a check held together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from rate.records import record
from rate.report.compare.table import p_value
from rate.report.gate.checked_values import CheckedValue, measured, number
from rate.report.gate.document import CheckRecord
from rate.report.gate.policy import MEANS, Check
from rate.statistics.intervals import Spread
from rate.statistics.multiplicity import chance_below, holm

STATES = ("fail", "error", "inconclusive", "warn", "pass")
"""The states of a result, the worst first.

``warn``: violated, of severity warn. ``error``: it could not be computed.
"""

_OF_READING = ("value", "low", "high", "numerator", "denominator", "n", "candidate", "baseline")
_OF = {"pt": "correct predictions", "ir": "predictions on valid evidence", "accuracy": "predictions"}
_OF |= dict.fromkeys(MEANS, "predictions with a region to swap")
_NO_INTERVAL = "there is no interval: too few samples or clusters stand behind a ratio"
# larger than the rounding error of a difference of two shares; a drop of exactly the allowed size is allowed
_ROUNDING = 1e-12
_LEVEL = 0.05  # of intervals, and of all slices of a check together


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a check, for the whole head or for one slice of it, of one run or of a grid."""

    check: Check
    slice: str | None  # name of the class or group
    state: str  # one of `STATES`
    reading: CheckedValue
    limit: float | None  # limit of the value; for a relative drop in the metric's own unit
    why: str
    needed: int | None = None  # approximate denominator that would decide; None = not known
    run: str | None = None  # name of the run in its grid; None = there is no grid, or it is a mean over its runs

    @property
    def place(self) -> str:
        """The run in its grid and the slice, as far as there are any."""
        return ", ".join(part for part in (self.run, self.slice) if part is not None)

    @property
    def name(self) -> str:
        """The name of the check, and its place."""
        return f"{self.check.name} [{self.place}]" if self.place else self.check.name

    @property
    def message(self) -> str:
        """The measured value and the consequence, in one line."""
        said = measured(self.reading)
        return f"{said}: {self.why}" if said else self.why

    @property
    def document(self) -> CheckRecord:
        """Return the result's entry in the JSON of a decision."""
        units = self.reading.units
        return record(
            CheckRecord,
            asdict(self.check)
            | {name: getattr(self.reading, name) for name in _OF_READING}
            | {
                "slice_by": self.check.slice,
                "slice": self.slice,
                "run": self.run,
                "state": self.state,
                "limit": self.limit,
                "units": units and units.name,
                "clusters": units and units.clusters,
                "samples_needed": self.needed,
                "message": self.message,
            },
        )


def judge(check: Check, name: str | None, reading: CheckedValue) -> Result:
    """Compare one reading with one bound."""
    if reading.missing is not None:
        return Result(check, name, "error", reading, None, reading.missing)
    if not all(math.isfinite(x) for x in (reading.value, reading.low, reading.high) if x is not None):
        return Result(check, name, "error", reading, None, f"{check.metric} is not a finite number")
    limit = _limit(check, reading)
    of = _OF.get(check.metric, "samples")
    if reading.support < check.min_samples or limit is None or reading.value is None:
        why = _why_undecided(check, reading, of)
        return Result(check, name, "inconclusive", reading, limit, why, check.min_samples)
    ends = (reading.value, reading.value) if check.use == "value" else (reading.low, reading.high)
    if ends[0] is None or ends[1] is None:
        return Result(check, name, "inconclusive", reading, limit, _NO_INTERVAL)
    return _compare(check, name, reading, limit, (ends[0], ends[1]))


def corrected(results: Sequence[Result]) -> list[Result]:
    """Leave undecided which slices of a check violate it no more clearly than one of so many would by chance."""
    tested = [k for k, one in enumerate(results) if one.limit is not None and one.reading.low is not None]
    tested = [k for k in tested if results[k].reading.support >= results[k].check.min_samples]
    p = np.minimum(1.0, 2.0 * holm(np.array([_chance(results[k]) for k in tested])))
    changed = list(results)
    for k, value in zip(tested, p.tolist(), strict=True):
        one = results[k]
        if one.state in ("fail", "warn"):
            by_chance = value > _LEVEL
            said = f"as one of {len(tested)} slices may by chance" if by_chance else f"also among {len(tested)} slices"
            why = f"{one.why}, {said} (Holm: p {p_value(value)})"
            changed[k] = replace(one, state="inconclusive" if by_chance else one.state, why=why)
    return changed


def _chance(result: Result) -> float:
    """Compute the probability of a value so far on the wrong side of the limit where the limit is true."""
    reading, limit = result.reading, result.limit
    if reading.value is None or limit is None:
        return 1.0
    if result.check.bound == "max":
        return chance_below(1.0 - reading.value, reading.denominator, 1.0 - limit, reading.spread)
    return chance_below(reading.value, reading.denominator, limit, reading.spread)


def _why_undecided(check: Check, reading: CheckedValue, of: str) -> str:
    if reading.undefined is not None:
        return reading.undefined
    if not reading.support:
        return f"undefined, there are no {of}"
    if reading.support < check.min_samples:
        return f"{reading.support} {of}, min_samples is {check.min_samples}"
    return f"the baseline is {number(reading.baseline or 0.0)}, and a share of it is no limit; use max_drop"


def _compare(check: Check, name: str | None, reading: CheckedValue, limit: float, ends: tuple[float, float]) -> Result:
    """Apply the rule: both ends keep the limit, both violate it, or neither."""
    most = check.bound == "max"
    slack = _ROUNDING if check.is_drop else 0.0
    kept = [end <= limit if most else end >= limit - slack for end in ends]
    what = "the value" if check.use == "value" else "the interval"
    if check.use != "value" and reading.units is not None and reading.units.too_few:
        what += f" ({reading.units})"
    beyond, within = ("above", "at or below") if most else ("below", "at or above")
    if all(kept):
        return Result(check, name, "pass", reading, limit, f"{what} lies {within} {number(limit)}")
    if not any(kept):
        return Result(
            check, name, "fail" if check.blocks else "warn", reading, limit, f"{what} lies {beyond} {number(limit)}"
        )
    needed = _needed(check, reading, limit)
    cure = f"; about {needed:,} {_OF.get(check.metric, 'samples')} would decide" if needed else ""
    return Result(check, name, "inconclusive", reading, limit, f"{what} holds {number(limit)}{cure}", needed)


def _limit(check: Check, reading: CheckedValue) -> float | None:
    """Compute the limit of the value; a drop is a negative difference, a relative one a share of the baseline.

    A negative baseline, which a gap may have, has no share.
    """
    if not check.is_drop:
        return check.threshold
    if check.bound == "max_drop":
        return 0.0 - check.threshold  # not -0.0, which would be shown with its sign
    negative = reading.baseline is None or reading.baseline < 0.0
    return None if negative else 0.0 - check.threshold * (reading.baseline or 0.0)


def _needed(check: Check, reading: CheckedValue, limit: float) -> int | None:
    """Estimate the denominator that would decide if the value stayed the same.

    The interval of a share excludes t exactly if |value - t| > z sqrt(t (1 - t) d / m), with its quantile z and the
    design effect d of its clusters (1 without them). This is solved for m. The interval of a mean or of a difference
    shrinks with 1 / sqrt(m) from its present width.
    """
    value, low, high = reading.value, reading.low, reading.high
    if value is None or low is None or high is None or (gap := abs(value - limit)) < _ROUNDING:
        return None
    if not check.is_drop and check.metric not in MEANS:
        spread = reading.spread or Spread(0)
        return math.ceil(spread.quantile**2 * limit * (1 - limit) * spread.design_effect / gap**2)
    reach = value - low if value > limit else high - value
    return math.ceil(reading.denominator * (reach / gap) ** 2)
