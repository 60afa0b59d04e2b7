"""The numbers of heads over runs in order, each with its change against the run before, or against one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from rate.data.images.corrupt import CLEAN
from rate.errors import UsageError
from rate.records import Count, Document, Record, RunStatus, record
from rate.report.compare.compare import Pair, named_apart, pair
from rate.report.compare.pairing import NoSampleInCommon
from rate.report.heads import HeadRun, incompatibilities
from rate.report.history.releases import BEST, LAST, order_by_pt, releases
from rate.statistics.means import SampleMean
from rate.statistics.metrics import Ratio, RatioRecord
from rate.statistics.paired import Difference
from rate.studies.corruption_grid import METRICS


class ChangeRecord(Record, frozen=True):
    """A change from one run to another over the samples of both, with its 95 % interval."""

    value: float | None
    low: float | None
    high: float | None
    method: str


class EntryRecord(Record, frozen=True):
    """A run of a history."""

    name: str
    run: str  # its folder
    head: str
    status: RunStatus
    started: str | None
    n: Count
    accuracy: RatioRecord
    pt: RatioRecord
    ir: RatioRecord
    gap: Annotated[SampleMean | None, Meta(description="null: of a run by maps")]
    against: Annotated[str | None, Meta(description="name of the run that the changes are from")]
    changes: Annotated[dict[str, ChangeRecord], Meta(description="by metric; none without a comparable run")]
    apart: Annotated[str | None, Meta(description="why it cannot be compared")]


class HistoryDocument(Document, frozen=True, tag="rate.history/1"):
    """The document of `rate history --json`: by head, and by corruption if there are several, the runs in order."""

    baseline: str | None
    heads: dict[str, tuple[EntryRecord, ...]]
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Release:
    """One head of one run, and how it changed."""

    title: str
    head: HeadRun
    against: str | None  # title of what it is compared with; None: the first, or the baseline itself
    pair: Pair | None
    apart: str | None  # why there is no pair

    def metric(self, name: str) -> Ratio | SampleMean | None:
        """Return one of `METRICS`; None if the run does not measure it."""
        summary = self.head.summary
        if name == "gap":
            return None if summary.swap is None else summary.swap.gap
        return summary.accuracy if name == "accuracy" else getattr(summary, name).ratio

    def change(self, name: str) -> Difference | None:
        """Return the change of a metric; None without one."""
        return None if self.pair is None else self.pair.differences.get(name)

    @property
    def document(self) -> EntryRecord:
        """The entry of the document."""
        changes = {name: one for name in METRICS if (one := self.change(name)) is not None}
        return record(
            EntryRecord,
            {name: self.metric(name) for name in METRICS}
            | {
                "name": self.title,
                "run": str(self.head.folder),
                "head": self.head.head,
                "status": self.head.status,
                "started": self.head.run.started,
                "n": self.head.slice.rows,
                "against": self.against,
                "changes": {name: record(ChangeRecord, one) for name, one in changes.items()},
                "apart": self.apart,
            },
        )


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Heads over runs in order."""

    series: dict[str, tuple[Release, ...]]  # by head
    baseline: str | None  # as it was asked for

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that the runs have."""
        entries = [entry for some in self.series.values() for entry in some]
        return tuple(name for name in METRICS if any(entry.metric(name) is not None for entry in entries))

    @property
    def notices(self) -> tuple[str, ...]:
        """One sentence for each run that is not complete, or that cannot be compared."""
        said = [
            f"{entry.title} is {entry.head.status}: its numbers are those of the samples it has"
            for some in self.series.values()
            for entry in some
            if entry.head.status != "complete"
        ]
        said += [
            f"{entry.title} is not compared with {entry.against}: {entry.apart}"
            for some in self.series.values()
            for entry in some
            if entry.apart is not None
        ]
        return tuple(said)

    @property
    def document(self) -> HistoryDocument:
        """For machines."""
        entries = {name: tuple(entry.document for entry in some) for name, some in self.series.items()}
        return HistoryDocument(self.baseline, entries, self.notices)


def history(references: Sequence[str], baseline: str | None = None) -> History:
    """Hold runs in order against each other, each against the one before.

    Where every run gives one head, these are one series, whatever they are called; else the heads of a name are one.
    Runs under several corruptions are a series for each.

    Args:
        references: RUN[@HEAD] in order, or folders of runs, or of folders of runs, which are ordered by time.
        baseline: ``best`` (the highest PT, on average over corruptions), ``last``, or the name of one of the
            runs: all others are held against it.

    Raises:
        RunError: a run is missing or damaged.
        UsageError: fewer than two runs are named, or the baseline is none of them.
    """
    heads = releases(references)
    alone = len({head.folder.resolve() for head in heads}) == len(heads)
    images = list(dict.fromkeys(head.run.measurement.get("corrupt") for head in heads))
    by_name: dict[str, dict[str | None, list[HeadRun]]] = {}
    for head in heads:
        corrupt = head.run.measurement.get("corrupt")
        by_name.setdefault("" if alone else head.head, {}).setdefault(corrupt, []).append(head)
    if max((len(own) for some in by_name.values() for own in some.values()), default=0) < 2:
        raise UsageError(
            f"a history needs two runs or more of the same images, {' '.join(references)} names one; add RUN[@HEAD]"
        )
    series = {}
    for some in by_name.values():
        names = {corrupt: _names(own) for corrupt, own in some.items()}
        first = (
            baseline
            if baseline not in (BEST, LAST)
            else _meant(baseline, list(zip(names.values(), some.values(), strict=True)))
        )
        for corrupt, own in some.items():
            called = {head.head for head in own}
            name = called.pop() if len(called) == 1 else "runs"
            series[name if len(images) == 1 else f"{name}, {corrupt or CLEAN}"] = _series(own, names[corrupt], first)
    return History(series, baseline)


def _names(heads: Sequence[HeadRun]) -> list[str]:
    """Name runs by their folders, or by what holds these, if that tells them apart and the heads do not."""
    paths = [head.folder.resolve() for head in heads]
    if len({head.head for head in heads}) == 1:
        for names in ([path.name for path in paths], [path.parent.name for path in paths]):
            if len(set(names)) == len(names):
                return names
    return named_apart(heads)


def _series(heads: Sequence[HeadRun], names: Sequence[str], baseline: str | None) -> tuple[Release, ...]:
    first = None if baseline is None else _baseline(heads, names, baseline)
    entries = []
    for k, head in enumerate(heads):
        before = k - 1 if first is None else first
        if before in (-1, k):
            entries.append(Release(names[k], head, None, None, None))
        else:
            entries.append(Release(names[k], head, names[before], *_compared(heads[before], head)))
    return tuple(entries)


def _compared(before: HeadRun, head: HeadRun) -> tuple[Pair | None, str | None]:
    if differing := incompatibilities(before, head):
        return None, f"they measured different things: {'; '.join(differing)}"
    try:
        return pair(before, head, changed=0), None
    except NoSampleInCommon:
        return None, "they have no sample in common"


def _meant(word: str, series: Sequence[tuple[Sequence[str], Sequence[HeadRun]]]) -> str:
    """Return the name of the last of the runs that every series has, or of that of the highest mean PT."""
    values: dict[str, list[float | None]] = {}
    for names, heads in series:
        for name, head in zip(names, heads, strict=True):
            values.setdefault(name, []).append(head.summary.pt.ratio.value)
    means = {name: order_by_pt(own) for name, own in values.items() if len(own) == len(series)}
    if not means:
        raise UsageError(f"--baseline {word}: none of {', '.join(values)} has all the corruptions; name one of them")
    return [*means][-1] if word == LAST else max(reversed(means), key=means.__getitem__)  # of equal ones the latest


def _baseline(heads: Sequence[HeadRun], names: Sequence[str], asked: str) -> int:
    for k, head in enumerate(heads):
        if asked in (names[k], head.name, head.folder.resolve().name, str(head.folder)):
            return k
    raise UsageError(f"--baseline {asked!r} is none of the runs; it is {BEST}, {LAST} or one of {', '.join(names)}")
