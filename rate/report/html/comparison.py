"""The differences between the first head of a page and each other one, and who moved between the quadrants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rate.report.compare.compare import TITLES, Pair, pairs_of
from rate.report.compare.pairing import NoSampleInCommon
from rate.report.heads import HeadRun
from rate.report.html.samples.changed import CHANGES, change_of, totals
from rate.statistics.metrics import QUADRANTS, STATES
from rate.statistics.paired import Difference

STATES_IN_WORDS = {
    "rr": "right, valid",
    "rw": "right, invalid",
    "wr": "wrong, valid",
    "ww": "wrong, invalid",
    "undefined_right": "right, no verdict",
    "undefined_wrong": "wrong, no verdict",
    "error": "no prediction",
}
WORSE, BETTER = ("wrong", "invalid"), ("right", "valid")
_ENDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""The possible ends of the axis of differences."""


@dataclass(frozen=True, slots=True)
class DifferenceRow:
    """One metric of two heads."""

    title: str
    difference: Difference
    reading: str  # what the interval supports


@dataclass(frozen=True, slots=True)
class Move:
    """The samples of one state in the first head and one in the second."""

    count: int
    kind: str  # worse | better | other | same


@dataclass(frozen=True, slots=True)
class PairView:
    """Two heads as the templates use them."""

    pair: Pair
    rows: tuple[DifferenceRow, ...]
    end: float  # of the axis of differences, on either side of 0
    states: tuple[str, ...]  # those that occur, in words
    moves: tuple[tuple[Move, ...], ...]  # states of the first head in rows
    changes: tuple[tuple[str, str, int], ...]  # of `CHANGES`: name, words, samples


def comparison_of(heads: Sequence[HeadRun], names: Sequence[str]) -> tuple[list[PairView], str | None]:
    """Compare the first head with each other one; return the views, or why there are none.

    Args:
        heads: heads that measured the same.
        names: what the page calls them.

    Raises:
        RunError: a part of a run is missing or damaged.
    """
    try:
        return views_of(pairs_of(heads, names, changed=0)), None
    except NoSampleInCommon as error:
        return [], str(error)


def views_of(pairs: Sequence[Pair]) -> list[PairView]:
    """Put pairs into words, all on one axis of differences."""
    ends = [abs(end) for pair in pairs for one in pair.differences.values() for end in (one.low, one.high) if end]
    return [_view(pair, next(end for end in _ENDS if end >= max(ends, default=0.0))) for pair in pairs]


def _view(pair: Pair, end: float) -> PairView:
    shown = [k for k, name in enumerate(STATES) if name in QUADRANTS or pair.moves[k].any() or pair.moves[:, k].any()]
    changed = totals(pair.moves)
    first, second = pair.titles
    return PairView(
        pair=pair,
        rows=tuple(DifferenceRow(TITLES[name], one, _reading(one)) for name, one in pair.differences.items()),
        end=end,
        states=tuple(STATES_IN_WORDS[STATES[k]] for k in shown),
        moves=tuple(tuple(Move(int(pair.moves[i, j]), _kind(STATES[i], STATES[j])) for j in shown) for i in shown),
        changes=tuple(
            (name, words.format(first=first, second=second), changed[name]) for name, words in CHANGES.items()
        ),
    )


def _reading(one: Difference) -> str:
    if one.low is None or one.high is None:
        return "undefined"
    return "rose" if one.low > 0.0 else "fell" if one.high < 0.0 else "no difference can be claimed"


def _kind(before: str, after: str) -> str:
    change = change_of(before, after)
    if change is None:
        return "same" if before == after else "other"
    return "worse" if change in WORSE else "better" if change in BETTER else "other"
