"""Gates by name: of a run, or of a folder of runs over corruptions: each check on every run, the worst or the mean."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from rate.errors import RunError, UsageError
from rate.records import read, record
from rate.report.gate.checked_values import CheckedValue
from rate.report.gate.decide import Decision, decide
from rate.report.gate.document import HeadIdentity
from rate.report.gate.policy import Check, Policy
from rate.report.gate.result import STATES, Result, judge
from rate.report.heads import HeadRun, load_head, load_heads, split_reference
from rate.report.history.releases import named_baseline
from rate.runs.folder import GRID
from rate.studies.corruption_grid import GridDocument, is_grid, load_grid


def decide_named(policy: Policy, run: str, baseline: str | None = None, *, allow_partial: bool = False) -> Decision:
    """Decide whether RUN[@HEAD] passes a policy; RUN may be a folder of runs, and then ``baseline`` is one, too.

    Across corruptions, if the policy allows that, the baseline of all runs of a folder may be one run.

    A baseline of several heads, none of which is named, is its head of the same name. It may also be a name or a word
    for a run beside ``run``; see `rate.report.history.releases.named_baseline`.

    Raises:
        RunError: a run is missing, damaged or not complete, or the two measured different things.
        UsageError: a run has several heads and none is named, one is a folder of runs and the other a run, or a check
            needs a baseline.
    """
    if baseline is not None:
        baseline = named_baseline(baseline, run)
    folder, head = split_reference(run)
    grids = [is_grid(folder), baseline is not None and is_grid(split_reference(baseline)[0])]
    if not any(grids):
        candidate = load_head(run)
        return decide(policy, candidate, _baseline(baseline, candidate.head), allow_partial=allow_partial)
    of_one = baseline is not None and not grids[1]
    if baseline is not None and not all(grids) and not (of_one and policy.across_corruptions):
        one, other = (run, baseline) if grids[0] else (baseline, run)
        raise UsageError(
            f"{one} is a folder of runs and {other} is a run; drops are measured between two of a kind, unless the "
            "policy has across_corruptions = true and the baseline is the run"
        )
    cells, gap = _cells(folder, allow_partial)
    heads = load_grid(folder).heads
    if head is None and len(heads) > 1:
        named = ", ".join(f"{folder}@{name}" for name in heads)
        raise UsageError(f"{folder} has {len(heads)} heads and one is needed; name it: {named}")
    if head is not None and head not in heads:
        raise UsageError(f"{folder} has no head {head!r}; it has {', '.join(heads)}")
    wanted = heads[0] if head is None else head
    before, of_baseline = split_reference(baseline) if baseline is not None else (None, None)
    others, other_gap = (cells, None) if before is None or of_one else _cells(before, allow_partial)
    if others != cells:
        raise RunError(
            f"{folder} and {before} cannot be compared, one of them lacks {', '.join(sorted(set(cells) ^ set(others)))}"
        )
    decisions = {
        name: decide(
            policy,
            load_head(f"{folder / name}@{wanted}"),
            _baseline(None if before is None else str(before if of_one else before / name), wanted, of_baseline),
            allow_partial=allow_partial,
        )
        for name in cells
    }
    return _joined(policy, folder, wanted, decisions, (gap, other_gap), of_one)


def worst(decisions: Sequence[Decision]) -> Decision:
    """Return the first decision of the worst verdict: failed, inconclusive, passed."""
    return min(decisions, key=lambda one: ("failed", "inconclusive", "passed").index(one.verdict))


def _baseline(reference: str | None, candidate: str, head: str | None = None) -> HeadRun | None:
    if reference is None:
        return None
    if head is not None:
        return load_head(f"{reference}@{head}")
    heads = load_heads(reference)
    return next((one for one in heads if len(heads) > 1 and one.head == candidate), None) or load_head(reference)


def _cells(folder: Path, allow_partial: bool) -> tuple[list[str], str | None]:
    """Return the names of the runs of a grid, and in what way they are not known to be all, if that is allowed."""
    there = [cell.run for cell in load_grid(folder).cells]
    held = f"{folder} holds {len(there)} {'run' if len(there) == 1 else 'runs'}"
    try:
        stored = [cell.run for cell in read(folder / GRID, GridDocument, RunError, "").runs]
    except RunError:
        gap = f"{held}, and no {GRID} that can be read says whether these are all"
    else:
        if sorted(stored) == sorted(there):
            return there, None
        gap = f"{held}, and {GRID} names {len(stored)}; only one of them has {', '.join(sorted({*stored} ^ {*there}))}"
    if not allow_partial:
        raise RunError(
            f"{gap}: finish it with the `rate eval` that began it, or add --allow-partial to decide on what is there"
        )
    return there, gap


def _joined(
    policy: Policy,
    folder: Path,
    head: str,
    decisions: dict[str, Decision],
    gaps: tuple[str | None, str | None],
    of_one: bool,
) -> Decision:
    before = [decision.baseline for decision in decisions.values() if decision.baseline is not None]
    results: list[Result] = []
    for check in policy.checks:
        of_runs = [
            replace(result, run=name)
            for name, decision in decisions.items()
            for result in decision.results
            if result.check == check
        ]
        results += {"each": of_runs, "worst": [_worst(of_runs)], "mean": [_mean(check, of_runs)]}[check.over]
    said = [text for decision in decisions.values() for text in decision.notices]
    counts = dict.fromkeys((gap for gap in gaps if gap is not None), 1) | {text: said.count(text) for text in said}
    return Decision(
        policy=policy,
        run=_identity(folder, head, [decision.run for decision in decisions.values()], gaps[0]),
        baseline=before[0]
        if of_one and before
        else _identity(Path(before[0].folder).parent, before[0].head, before, gaps[1])
        if before
        else None,
        results=tuple(results),
        notices=tuple(text if count == 1 else f"{text} (of {count} runs)" for text, count in counts.items()),
        undecided=next((one.undecided for one in decisions.values() if one.undecided), None),
        failures=max((one.failures for one in decisions.values()), key=lambda some: sum(one.count for one in some)),
    )


def _worst(results: Sequence[Result]) -> Result:
    """The result of the worst state; of those the one that lies furthest on the wrong side of its limit."""

    def distance(result: Result) -> float:
        if result.reading.value is None or result.limit is None:
            return -math.inf
        beyond = result.limit - result.reading.value
        return beyond if result.check.bound == "max" else -beyond

    return min(results, key=lambda result: (STATES.index(result.state), distance(result)))


def _mean(check: Check, results: Sequence[Result]) -> Result:
    """The unweighted mean over runs.

    The runs show the same images, so they are not independent. The mean of their intervals' ends is an interval that is
    wide enough whatever they share: the standard error of a mean is at most the mean of the standard errors.
    """
    for result in results:
        reading = result.reading
        if reading.missing is not None or reading.value is None:
            return result
    one = results[0].reading
    bases = [base for of in results if (base := of.reading.baseline_denominator) is not None]
    reading = CheckedValue(
        n=min(of.reading.n for of in results),
        denominator=min(of.reading.denominator for of in results),
        value=_mean_of(results, "value"),
        low=_mean_of(results, "low"),
        high=_mean_of(results, "high"),
        candidate=_mean_of(results, "candidate"),
        baseline=_mean_of(results, "baseline"),
        baseline_denominator=min(bases) if bases else None,
        units=one.units,
        spread=one.spread,
    )
    result = judge(check, None, reading)
    return replace(result, why=f"{result.why}, over {len(results)} runs")


def _mean_of(results: Sequence[Result], name: str) -> float | None:
    values = [value for result in results if (value := getattr(result.reading, name)) is not None]
    return fmean(values) if len(values) == len(results) else None


def _identity(folder: Path, head: str, runs: Sequence[HeadIdentity], gap: str | None) -> HeadIdentity:
    """A grid as one run: its key is that of its runs' keys, and its samples are those of all of them."""
    statuses = {run.status for run in runs}
    return record(
        HeadIdentity,
        {
            "name": f"{folder.resolve().name}@{head}",
            "folder": str(folder),
            "head": head,
            "status": "complete" if gap is None and statuses == {"complete"} else "partial",
            "key": hashlib.sha256("".join(sorted(run.key for run in runs)).encode()).hexdigest(),
            "weights": runs[0].weights,
            "n": sum(run.n for run in runs),
        },
    )
