"""The decision of a release gate, from which the table, JSON, JUnit, Markdown and the exit code are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rate.errors import EXIT_DONE, EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, UsageError
from rate.records import record
from rate.report.compare.compare import Pair, pair
from rate.report.gate.checked_values import CheckedValue, printable, readings
from rate.report.gate.document import GateDocument, HeadIdentity
from rate.report.gate.policy import Check, Policy
from rate.report.gate.result import STATES, Result, corrected, judge
from rate.report.gate.run_conditions import require_same_samples, require_whole, too_many_errors
from rate.report.heads import HeadRun
from rate.runs.failures import Failure
from rate.statistics.intervals import Units

_EXIT = {"passed": EXIT_DONE, "failed": EXIT_GATE_FAILED, "inconclusive": EXIT_INCONCLUSIVE}


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
    yield from corrected(results) if check.multiplicity == "holm" else results
    if not results:
        nothing = CheckedValue(candidate.slice.rows, 0)
        yield Result(check, None, "inconclusive", nothing, None, f"there is no slice: no sample has a {check.slice}")


def _notices(policy: Policy, candidate: HeadRun, against: Pair | None) -> Iterator[str]:
    for head in (candidate,) if against is None else (candidate, against.first):
        if head.status != "complete":
            available = head.run.samples.available
            yield f"{head.folder} is {head.status}: decided on {head.slice.rows} of {available} samples"
    missing = candidate.sums.without_group
    if missing and any(check.slice == "group" for check in policy.checks):
        yield f"{missing} of {candidate.slice.rows} samples have no group and are in no slice"
    if any(check.multiplicity == "holm" for check in policy.checks):
        yield "violations of a check by several slices are held together at 5 %, by Holm's correction"
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
