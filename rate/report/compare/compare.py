"""The comparison of heads over the same samples: changes from a baseline to each other head, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rate.errors import UsageError
from rate.records import record
from rate.report.compare.document import (
    ComparedHead,
    ComparisonDocument,
    DifferenceRecord,
    McNemarRecord,
    MeanDifferenceRecord,
    PairRecord,
    StateChange,
)
from rate.report.compare.pairing import JointSlice, PairSums
from rate.report.heads import HeadRun, load_head, load_heads, require_comparable
from rate.statistics.intervals import MIN_CLUSTERS, Units
from rate.statistics.means import MEAN_TITLES, SWAP_METRICS
from rate.statistics.metrics import METRICS, QUADRANTS, STATES
from rate.statistics.paired import Difference, Tables, mcnemar, sign_flip
from rate.types import Int64

_RIGHT = ("rr", "rw", "undefined_right")
_VALID = ("rr", "wr")
_NO_MATTER_OF_THE_MODEL = ("precision", "backend", "pixel_path", "geometry")
"""The parts of a run's identity that may differ between two heads and change their numbers with the same weights."""

TITLES = {"accuracy": "accuracy", "pt": "PT", "ir": "IR", "judged_accuracy": "accuracy, judged"} | MEAN_TITLES


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two heads over the samples that both have."""

    first: HeadRun
    second: HeadRun
    titles: tuple[str, str]  # names of the two: RUN@HEAD, longer if two folders share their name
    paired: int
    unpaired: tuple[int, int]  # number of samples that only the first has, only the second
    units: Units  # of every interval and test
    differences: dict[str, Difference]  # by metric
    mcnemar: dict[str, McNemarRecord]  # "accuracy": correct; "validity": valid, among samples with a verdict in both
    moves: Int64  # [7,7] by `STATES`
    changed: tuple[StateChange, ...]  # in order of id, as many as were asked for
    slices: Callable[[str | None], Iterator[tuple[str | None, JointSlice]]]  # of a column: name, sums of a slice

    @property
    def means(self) -> tuple[str, ...]:
        """The metrics that are means; none of runs by maps."""
        return tuple(name for name in self.differences if name in SWAP_METRICS)

    @property
    def conclusions(self) -> tuple[str, ...]:
        """One plain sentence for each metric on what its interval supports."""
        return tuple(_conclusion(self, TITLES[name], difference) for name, difference in self.differences.items())

    @property
    def notices(self) -> tuple[str, ...]:
        """The notices about this pair."""
        return tuple(_pair_notices(self))

    @property
    def document(self) -> PairRecord:
        """Return an entry of ``pairs`` in a comparison."""
        moves = {
            before: dict(zip(STATES, map(int, row), strict=True))
            for before, row in zip(STATES, self.moves, strict=True)
        }
        return PairRecord(
            first=self.titles[0],
            second=self.titles[1],
            paired=self.paired,
            only_first=self.unpaired[0],
            only_second=self.unpaired[1],
            units=self.units.name,
            clusters=self.units.clusters,
            differences={name: record(DifferenceRecord, self.differences[name]) for name in METRICS},
            means={name: record(MeanDifferenceRecord, self.differences[name]) for name in self.means},
            mcnemar=self.mcnemar,
            moves=moves,
            changed=self.changed,
            conclusions=self.conclusions,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A baseline, ``heads[0]``, with which every other head is compared."""

    heads: tuple[HeadRun, ...]
    pairs: tuple[Pair, ...]
    notices: tuple[str, ...]

    def __str__(self) -> str:
        """Format it as `rate compare` prints it."""
        from rate.report.compare.table import comparison_table
        from rate.runs.summary.text import plain

        return plain(comparison_table(self))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from rate.runs.summary.text import preformatted

        return preformatted(self)

    @property
    def caveat(self) -> str | None:
        """The caveat of multiple comparisons; None for a single one."""
        if len(self.pairs) < 2:
            return None
        return (
            f"each interval is for its own comparison with {self.pairs[0].titles[0]}, not for all {len(self.pairs)} "
            "at once: the more comparisons, the likelier that one of them excludes 0 by chance"
        )

    @property
    def document(self) -> ComparisonDocument:
        """For machines."""
        titles = named_apart(self.heads)
        return ComparisonDocument(
            baseline=titles[0],
            heads=tuple(
                record(
                    ComparedHead,
                    {"name": title, "run": str(head.folder), "head": head.head, "status": head.status},
                )
                for title, head in zip(titles, self.heads, strict=True)
            ),
            pairs=tuple(pair.document for pair in self.pairs),
            notices=self.notices,
            caveat=self.caveat,
        )


def compare(
    references: Sequence[str],
    baseline: str | None = None,
    *,
    by_cluster: bool = True,
    changed: int | None = None,
) -> Comparison:
    """Compare every head that ``references`` name with the first of them, or with ``baseline``.

    Args:
        references: RUN[@HEAD]; a run of several heads without ``@`` stands for all of them in its order.
        baseline: the head with which all others are compared; it is not compared with itself.
        by_cluster: whether clusters, if there are enough, are the units of intervals and tests; else samples.
        changed: how many of the samples that changed are named for each pair; None = all.

    Raises:
        UsageError: fewer than two heads are named.
        RunError: a run is missing or damaged, or two of them measured different things.
    """
    heads = [head for reference in references for head in load_heads(reference)]
    if baseline is not None:
        first = load_head(baseline)
        heads = [first, *(head for head in heads if _place(head) != _place(first))]
    if len(heads) < 2:
        raise UsageError(
            f"a comparison needs two heads or more, {' '.join(references) or 'nothing'} names "
            f"{heads[0].name if heads else 'none'} alone; add another RUN[@HEAD]"
        )
    require_comparable(heads, across=True)
    pairs = pairs_of(heads, named_apart(heads), by_cluster=by_cluster, changed=changed)
    return Comparison(tuple(heads), pairs, tuple(_notices(heads, pairs)))


def pairs_of(
    heads: Sequence[HeadRun], titles: Sequence[str], *, by_cluster: bool = True, changed: int | None = None
) -> tuple[Pair, ...]:
    """Compare the first of some heads, under these ``titles``, with each other one, also across corruptions."""
    return tuple(
        replace(pair(heads[0], head, by_cluster=by_cluster, changed=changed, across=True), titles=(titles[0], title))
        for head, title in zip(heads[1:], titles[1:], strict=True)
    )


def pair(
    first: HeadRun, second: HeadRun, *, by_cluster: bool = True, changed: int | None = None, across: bool = False
) -> Pair:
    """Compare two heads sample by sample, joined by id.

    If any sample has a cluster, a sample without one is its own cluster. Of the samples that changed, the ``changed``
    first in order of id are named; None = all. ``across`` corruptions the two may differ in these, as `rate compare`
    allows and a gate does not.

    Raises:
        RunError: the two measured different things, or have no sample in common.
    """
    require_comparable([first, second], across)
    sums = PairSums(first, second, by_cluster, changed)
    whole = sums.whole
    means = {metric: whole.mean_difference(metric) for metric in SWAP_METRICS} if sums.swaps else {}
    first_title, second_title = named_apart([first, second])
    return Pair(
        first=first,
        second=second,
        titles=(first_title, second_title),
        paired=whole.paired,
        unpaired=(first.slice.rows - whole.paired, second.slice.rows - whole.paired),
        units=whole.units,
        differences={metric: whole.difference(metric) for metric in METRICS} | means,
        mcnemar={
            "accuracy": _mcnemar(whole.tables, _RIGHT, STATES[:-1]),
            "validity": _mcnemar(whole.tables, _VALID, QUADRANTS),
        },
        moves=whole.moves,
        changed=sums.changed,
        slices=sums.slices,
    )


def _mcnemar(tables: Tables, having: Iterable[str], among: Iterable[str]) -> McNemarRecord:
    """Test the samples in states ``among`` in both heads that are in states ``having`` in one of them only."""
    has = np.isin(STATES, list(having))
    lacks = np.isin(STATES, list(among)) & ~has
    only_first, only_second = (
        tables[..., one, :][..., other].sum(axis=(-2, -1)) for one, other in ((has, lacks), (lacks, has))
    )
    first, second = int(only_first.sum()), int(only_second.sum())
    by_cluster = tables.ndim == 3 and len(tables) >= MIN_CLUSTERS
    return McNemarRecord(first, second, sign_flip(only_first - only_second) if by_cluster else mcnemar(first, second))


def _place(head: HeadRun) -> tuple[str, str]:
    return str(head.folder.resolve()), head.head


def named_apart(heads: Sequence[HeadRun]) -> list[str]:
    """Name heads RUN@HEAD with the folder's own name, or with its whole path if names would repeat."""
    places: dict[str, set[tuple[str, str]]] = {}
    for head in heads:
        places.setdefault(head.name, set()).add(_place(head))
    return [head.name if len(places[head.name]) == 1 else f"{head.folder}@{head.head}" for head in heads]


def _notices(heads: Sequence[HeadRun], pairs: Sequence[Pair]) -> Iterator[str]:
    for folder, head in {head.folder: head for head in heads}.items():
        if head.status != "complete":
            yield f"{folder} is {head.status}: its numbers are those of the samples it has"
    yield from dict.fromkeys(text for compared in pairs for text in compared.notices)
    for compared in pairs:
        if compared.units.too_few:
            yield f"intervals and tests of {' against '.join(reversed(compared.titles))} are {compared.units}"


def _pair_notices(compared: Pair) -> Iterator[str]:
    first, second = compared.first, compared.second
    one, other = compared.titles
    same_head = first.head == second.head
    if _place(first) == _place(second):
        yield f"{one} is compared with itself: every difference is 0 by construction"
    elif len(set(images := [_images(head) for head in (first, second)])) > 1:
        yield f"{one} has {images[0]}, and {other} has {images[1]}: a difference may come from the images"
    elif same_head and first.run.identity.weights == second.run.identity.weights:
        yield f"{one} and {other} have the same weights: this compares two evaluations, not two models"
    for name in _NO_MATTER_OF_THE_MODEL:
        a, b = (getattr(head.run.identity, name) for head in (first, second))
        if a != b:
            yield f"{name} differs: {a} in {one}, {b} in {other}; part of a difference may come from it"
    for title, missing in zip(compared.titles, reversed(compared.unpaired), strict=True):
        if missing:
            yield f"{missing} samples that {title} lacks are left out"


def _images(head: HeadRun) -> str:
    corrupt = head.run.measurement.get("corrupt")
    return "clean images" if corrupt is None else f"images under {corrupt}"


def _conclusion(compared: Pair, title: str, difference: Difference) -> str:
    """State a fall or rise if the interval excludes 0, and otherwise that no difference can be claimed."""
    if difference.value is None:
        without = [
            name
            for name, ratio in zip(compared.titles, (difference.first, difference.second), strict=True)
            if ratio.value is None
        ]
        return f"{title}: undefined in {' and '.join(without)}, so there is no difference"
    if difference.low is None or difference.high is None:
        return f"{title}: no difference can be claimed; {signed(difference.value)} has no interval"
    interval = f"[{signed(difference.low)}, {signed(difference.high)}]"
    if difference.low <= 0.0 <= difference.high:
        return f"{title}: no difference can be claimed; {signed(difference.value)} {interval} includes 0"
    moved = "fell" if difference.value < 0 else "rose"
    return f"{title} {moved} by {signed(abs(difference.value))[1:]} {interval}; the interval excludes 0"


def signed(value: float) -> str:
    """Format three decimals with a sign, or two significant digits if three decimals would show 0."""
    return f"{value:+.2g}" if 0.0 < abs(value) < 0.0005 else f"{value + 0.0:+.3f}"
