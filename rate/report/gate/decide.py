"""The decision of a release gate, from which the table, JSON, JUnit, Markdown and the exit code are made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from rate.errors import EXIT_DONE, EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, UsageError
from rate.records import record
from rate.report.compare.compare import Pair, pair
from rate.report.gate.checked_values import CheckedValue, measured, number, printable, readings
from rate.report.gate.document import CheckRecord, GateDocument, HeadIdentity
from rate.report.gate.policy import MEANS, Check, Policy
from rate.report.gate.run_conditions import require_same_samples, require_whole, too_many_errors
from rate.report.heads import HeadRun
from rate.runs.failures import Failure
from rate.statistics.intervals import Spread, Units

STATES = ("fail", "error", "inconclusive", "warn", "pass")
"""The states of a result, the worst first.

``warn``: violated, of severity warn. ``error``: it could not be computed.
"""

_OF_READING = ("value", "low", "high", "numerator", "denominator", "n", "candidate", "baseline")
_EXIT = {"passed": EXIT_DONE, "failed": EXIT_GATE_FAILED, "inconclusive": EXIT_INCONCLUSIVE}
_OF = {"pt": "correct predictions", "ir": "predictions on valid evidence", "accuracy": "predictions"}
_OF |= dict.fromkeys(MEANS, "predictions with a region to swap")
_NO_INTERVAL = "there is no interval: too few samples or clusters stand behind a ratio"
# larger than the rounding error of a difference of two shares; a drop of exactly the allowed size is allowed
_ROUNDING = 1e-12


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


@dataclass(frozen=True, slots=True, repr=False)
class Decision:
    """The decision of a gate with everything behind it."""

    policy: Policy
    run: HeadIdentity  # identity of the candidate
    baseline: HeadIdentity | None
    results: tuple[Result, ...]  # in the order of the policy; runs of a grid in its order, slices in order of name
    notices: tuple[str, ...]
    undecided: str | None  # reason in the runs why it cannot pass, independent of the checks
    failures: tuple[Failure, ...]  # the commonest reasons for which samples failed

    @property
    def verdict(self) -> str:
        """The verdict ``failed``, ``inconclusive`` or ``passed``: the worst of the checks of severity error."""
        states = {result.state for result in self.results if result.check.blocks}
        if "fail" in states:
            return "failed"
        return "passed" if states == {"pass"} and self.cannot_pass is None else "inconclusive"

    @property
    def cannot_pass(self) -> str | None:
        """The reason why it cannot pass, independent of the checks; None if it can."""
        if self.undecided is None and not any(result.check.blocks for result in self.results):
            return 'every check has severity "warn", so the gate cannot pass; give one of them severity "error"'
        return self.undecided

    @property
    def passed(self) -> bool:
        """Whether the model may be released."""
        return self.verdict == "passed"

    @property
    def exit_code(self) -> int:
        """The exit code: 0 passed, 1 failed, 3 inconclusive."""
        return _EXIT[self.verdict]

    @property
    def counts(self) -> dict[str, int]:
        """The number of results in each occurring state, the worst first."""
        by_state = Counter(result.state for result in self.results)
        return {state: by_state[state] for state in STATES if by_state[state]}

    def __str__(self) -> str:
        """Format the verdict and then every result that is not a pass, the worst first, for assertions and logs."""
        notable = sorted((r for r in self.results if r.state != "pass"), key=lambda r: STATES.index(r.state))
        said = [f"{result.state}: {result.name}: {result.message}" for result in notable]
        return "\n  ".join(map(printable, [self.headline, *said, *self.remarks]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from rate.report.gate.table import gate_table
        from rate.runs.summary.text import plain, preformatted

        return preformatted(plain(gate_table(self)))

    @property
    def headline(self) -> str:
        """The verdict, run and number of results by state, in one line."""
        counted = ", ".join(f"{count} {state}" for state, count in self.counts.items())
        against = f" against {self.baseline.name}" if self.baseline else ""
        return f"gate {self.verdict}: {self.run.name}{against}, {self.policy.source} ({counted})"

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notices, and the reason why it cannot pass."""
        return self.notices if self.cannot_pass is None else (*self.notices, self.cannot_pass)

    @property
    def document(self) -> GateDocument:
        """Return the document of `rate gate --json`."""
        return record(
            GateDocument,
            {
                "verdict": self.verdict,
                "exit_code": self.exit_code,
                "run": self.run,
                "baseline": self.baseline,
                "policy": {"source": self.policy.source, "digest": self.policy.digest},
                "counts": self.counts,
                "notices": self.remarks,
                "checks": [result.document for result in self.results],
            },
        )


def decide(policy: Policy, candidate: HeadRun, baseline: HeadRun | None, *, allow_partial: bool = False) -> Decision:
    """Decide whether a head passes a policy.

    Args:
        policy: the checks.
        candidate: the head to be released.
        baseline: the head against which drops are measured.
        allow_partial: whether to accept incomplete runs; the decision then states that.

    Raises:
        RunError: a run is not complete, its rows are not those of its set, or the two measured different things.
        UsageError: a check is a drop and there is no baseline.
    """
    heads = [candidate] if baseline is None else [candidate, baseline]
    require_whole(heads, allow_partial)
    for check in policy.checks:
        if check.is_drop and baseline is None:
            raise UsageError(
                f"{policy.source}: check {check.name!r} is a drop and needs a baseline; add --baseline RUN, "
                "or in `rate report` name it before the other runs"
            )
    against = None if baseline is None else pair(baseline, candidate, changed=0, across=policy.across_corruptions)
    if against is not None and not allow_partial:
        require_same_samples(against)
    results = tuple(result for check in policy.checks for result in _results(check, candidate, against))
    return Decision(
        policy=policy,
        run=_identity(candidate, candidate.name if against is None else against.titles[1]),
        baseline=None if against is None else _identity(against.first, against.titles[0]),
        results=results,
        notices=tuple(_notices(policy, candidate, against)),
        undecided=_undecided(heads),
        failures=candidate.sums.failures.commonest(),
    )


def _results(check: Check, candidate: HeadRun, against: Pair | None) -> Iterator[Result]:
    results = [judge(check, name, reading) for name, reading in readings(check, candidate, against)]
    yield from results
    if not results:
        nothing = CheckedValue(candidate.slice.rows, 0)
        yield Result(check, None, "inconclusive", nothing, None, f"there is no slice: no sample has a {check.slice}")


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


def _notices(policy: Policy, candidate: HeadRun, against: Pair | None) -> Iterator[str]:
    for head in (candidate,) if against is None else (candidate, against.first):
        if head.status != "complete":
            available = head.run.samples.available
            yield f"{head.folder} is {head.status}: decided on {head.slice.rows} of {available} samples"
    missing = candidate.sums.without_group
    if missing and any(check.slice == "group" for check in policy.checks):
        yield f"{missing} of {candidate.slice.rows} samples have no group and are in no slice"
    shares = any(not check.is_drop and check.use != "value" for check in policy.checks)
    if shares and candidate.slice.clusters is not None:
        yield f"intervals of shares are {Units(candidate.slice.clusters)}"
    if against is not None:
        yield from against.notices
        if any(check.is_drop and check.use != "value" for check in policy.checks):
            yield f"intervals of drops are {against.units}"


def _undecided(heads: Sequence[HeadRun]) -> str | None:
    """Return the reason why runs cannot pass: no predictions, or more failed samples than allowed."""
    candidate = heads[0]
    if not candidate.slice.predictions:
        return f"no sample of {candidate.name} has a prediction, so the gate cannot pass"
    return next(filter(None, map(too_many_errors, heads)), None)


def _identity(head: HeadRun, name: str) -> HeadIdentity:
    return record(
        HeadIdentity,
        {
            "name": name,
            "folder": str(head.folder),
            "head": head.head,
            "status": head.status,
            "key": head.run.key,
            "weights": head.run.identity.weights,
            "n": head.slice.rows,
        },
    )
