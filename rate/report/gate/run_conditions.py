"""The conditions of a run for a gate: complete, of its whole set, and without too many errors."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rate.errors import RunError
from rate.execution import Execution
from rate.report.compare.compare import Pair
from rate.report.heads import HeadRun
from rate.runs.status import status_now


def require_whole(heads: Iterable[HeadRun], allow_partial: bool) -> None:
    """Refuse incomplete runs, unless they are allowed, and runs that do not hold their set.

    Raises:
        RunError: names the run and the mismatch.
    """
    for head in heads:
        if head.status != "complete" and not allow_partial:
            status = status_now(head.folder, head.run)
            said = "was interrupted" if status == "interrupted" else f"is {status}"
            raise RunError(
                f"{head.name} {said}, and a gate needs a complete run; finish it with the `rate eval` that "
                f"began it (after --limit: anew, without it), or add --allow-partial to decide on what is there"
            )
        rows, available = head.slice.rows, head.run.samples.available
        if rows > available or (head.status == "complete" and rows != available):
            raise RunError(
                f"{head.name} holds rows of {rows} samples, and its set has {available}: run.json or a part was "
                f"changed after the evaluation; evaluate again into another folder"
            )


def require_same_samples(pair: Pair) -> None:
    """Refuse two runs if one has samples that the other lacks.

    Raises:
        RunError: names how many each lacks.
    """
    if any(pair.unpaired):
        lacks = " and ".join(
            f"{title} lacks {missing}" for title, missing in zip(pair.titles, reversed(pair.unpaired), strict=True)
        )
        raise RunError(
            f"a drop is measured over the same samples, {pair.paired} are in both runs: {lacks}; evaluate both on the "
            f"same data, or add --allow-partial to decide on what both have"
        )


def too_many_errors(head: HeadRun) -> str | None:
    """State that more samples failed than the evaluation allowed; None if that is not so."""
    failed, rows = head.slice.counts.errors, head.slice.rows
    allowed = _limit(head).errors_allowed(rows)
    if failed <= allowed:
        return None
    return (
        f"{failed} of {rows} samples of {head.name} failed, {allowed} are allowed, so the gate cannot pass; "
        f"mend them with `rate eval --repair`, or run it again with a larger --max-errors"
    )


def _limit(head: HeadRun) -> Execution:
    """Return the limit of the evaluation; the default if run.json has no valid one."""
    given = head.run.execution.get("max_errors")
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given) or given < 0:
        return Execution()
    return Execution(max_errors=given)
