"""What the numbers of a run need of the rows of a head, summed part by part: the memory does not grow with the rows.

Where samples have clusters, a few numbers for each cluster are held.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.methods import GIVEN
from rate.runs.failures import FailureCounts
from rate.runs.order import ranks
from rate.runs.run_document import Rule
from rate.runs.summary.shuffled import SHUFFLED_SAMPLES, Ring
from rate.runs.summary.slice_sums import OF_SLICES, Batch, Numbers, Slice, SliceSums, column_values, has_clusters, holds
from rate.statistics.metrics import QUADRANTS, STATES, Counts, membership, quadrant_codes
from rate.statistics.noise import NoiseSums
from rate.statistics.validity import SWEEP_TAUS, Verdicts, is_resolvable
from rate.types import Bool, Codes, Float64, UInt64

SHOWN_FAILURES = 20
"""The number of failed samples that are kept, those with the lowest ids."""

_MASSES = ["rma_positive", "rma_minmax", "rma_raw", "rma_se", "ceiling", "floor"]
SUMMED = list(
    dict.fromkeys(["id", "head", "label", "group", *OF_SLICES, "shuffled_valid", "share", "share_se", "area", *_MASSES])
)
"""The columns to read of a part. The rest of a row is ten times as large, and is not read."""


class HeadSums:
    """The sums of one head under the rule of its run."""

    def __init__(self, rule: Rule, clustered: bool) -> None:
        """Begin with no rows."""
        self.rule, self.clustered = rule, clustered
        swaps = rule.verdict == "swap"
        self._whole, self._groups, self._labels = (SliceSums(by, clustered, swaps) for by in (None, "group", "label"))
        self._shuffled = SliceSums(None, clustered, False)
        self._also = {other: SliceSums(None, clustered, False) for other in others_of(rule)}
        self.uniform_also = dict.fromkeys(self._also, Counts())
        self.uniform, self.swept = Counts(), dict.fromkeys(() if rule.adaptive else SWEEP_TAUS, Counts())
        self.noise, self._is_noise_known = NoiseSums.of(*_nothing()), rule.evidence in ("positive", "share")
        self._reasons: Counter[str] = Counter()
        self.settled: Counter[str] = Counter()
        self.without_group = 0
        self.failures = FailureCounts()
        self.failed: list[tuple[str, str]] = []  # id and error of the first failed samples in order of id
        self._clusters = Numbers()
        self._ring: tuple[UInt64, Bool, Float64] = (np.zeros(0, np.uint64), np.zeros(0, np.bool_), np.zeros(0))

    @property
    def whole(self) -> Slice:
        """The sums of all rows."""
        return self._whole.whole()

    @property
    def shuffled(self) -> Slice:
        """The sums of the samples with a verdict along the region of another one, under swaps."""
        return self._shuffled.whole()

    def slices(self, by: str) -> Iterator[tuple[str, Slice]]:
        """Yield every slice in order of name; ``by`` is the column that names it, ``label`` or ``group``."""
        return {"label": self._labels, "group": self._groups}[by].slices()

    def also(self) -> Iterator[tuple[str, str, Slice, Counts]]:
        """Yield the other evidences and rules, with the sums under them and the counts of uniform maps."""
        for (kind, valid), sums in self._also.items():
            yield kind, valid, sums.whole(), self.uniform_also[kind, valid]

    @property
    def undefined_by(self) -> dict[str, int]:
        """The number of rows for each undefined reason, in order of name."""
        return dict(sorted(self._reasons.items()))

    @property
    def noise_or_none(self) -> NoiseSums | None:
        """The sums for the noise of verdicts; None if it was not measured of all samples with a verdict."""
        return self.noise if self._is_noise_known and self.noise.counts.predictions else None

    def ring(self) -> Ring:
        """Return the samples of the shuffled baseline, without their sketches; none under swaps."""
        return Ring.of(*self._ring)

    def add(self, rows: pa.Table) -> None:
        """Add rows with the columns `SUMMED`, all of this head."""
        batch = Batch.of(rows, self.clustered)
        for sums in (self._whole, self._groups, self._labels):
            sums.add(batch)
        failed = batch.states == STATES.index("error")
        self._reasons.update(rows["undefined_reason"].filter(pa.array(~failed)).drop_null().to_pylist())
        self.settled.update({one["values"]: one["counts"] for one in pc.value_counts(rows["settled"]).to_pylist()})
        self.without_group += rows["group"].null_count
        self._add_failures(rows.filter(pa.array(failed)))
        self._add_shuffled(batch)
        self._add_verdicts(batch)

    def _add_failures(self, rows: pa.Table) -> None:
        pairs = list(zip(rows["id"].to_pylist(), rows["error"].to_pylist(), strict=True))
        for identifier, error in pairs:
            self.failures.take(identifier, error)
        self.failed = heapq.nsmallest(SHOWN_FAILURES, [*self.failed, *pairs])

    def _add_shuffled(self, batch: Batch) -> None:
        along = batch.rows["shuffled_valid"]
        known = np.asarray(pc.is_valid(along).to_numpy(), np.bool_)
        if known.any():
            self._shuffled.add(_chosen(batch, known, quadrant_codes(correct_of(batch)[known], holds(along)[known])))

    def _add_verdicts(self, batch: Batch) -> None:
        rule, rows = self.rule, batch.rows
        judged = batch.states < len(QUADRANTS)
        verdicts = verdicts_of(batch, rule.evidence, judged)
        area = column_values(rows, "area")
        least = verdicts.threshold(rule.valid, rule.tau)
        self.uniform += verdicts.counts(rule.valid, rule.tau, mass=area[judged])
        for tau in self.swept:
            self.swept[tau] += verdicts.counts(rule.valid, tau)
        errors = column_values(rows, "share_se" if rule.evidence == "share" else "rma_se")[judged]
        self._is_noise_known &= not np.isnan(errors).any()
        if self._is_noise_known:
            cluster = None if batch.cluster is None else self._clusters.of(batch.cluster[judged])
            count = 1 if cluster is None else len(self._clusters.known)
            self.noise.add(NoiseSums.of(verdicts.correct, verdicts.mass, errors, least, cluster, count))
        for kind, valid in self._also:
            mass = column_values(rows, f"rma_{kind}")
            usable = judged & ~np.isnan(mass) & is_resolvable(*(column_values(rows, name) for name in _OF_REGION))
            other = verdicts_of(batch, kind, usable)
            self._also[kind, valid].add(_chosen(batch, usable, other.states(valid, rule.tau)))
            self.uniform_also[kind, valid] += other.counts(valid, rule.tau, mass=area[usable])
        if rule.verdict == "map":
            rank = ranks(rows["id"].filter(pa.array(judged)).to_pylist())
            chosen = [np.concatenate(pair) for pair in zip(self._ring, (rank, verdicts.correct, least), strict=True)]
            order = np.argsort(chosen[0], kind="stable")[:SHUFFLED_SAMPLES]
            self._ring = chosen[0][order], chosen[1][order], chosen[2][order]


_OF_REGION = ("area", "ceiling", "floor")


def read_sums(names: Iterable[str], rule: Rule, tables: Callable[[], Iterable[pa.Table]]) -> dict[str, HeadSums]:
    """Map each head to its sums; ``tables`` yields the parts with the columns `SUMMED`, more than once if asked.

    Whether samples have clusters is seen when the first of them comes; what was summed before is then summed again.
    """
    heads = list(names)
    for clustered in (False, True):
        sums = {name: HeadSums(rule, clustered) for name in heads}
        for table in tables():
            if has_clusters(table) and not clustered:
                break
            for name, one in sums.items():
                one.add(table.filter(pc.equal(table["head"], name)))
        else:
            break
    return sums


def others_of(rule: Rule) -> list[tuple[str, str]]:
    """List the evidences and rules beside that of a run, for which its rows hold what they need.

    Adaptive sampling ends when one rule is clear, so the other relevance masses still change with the number of masks.
    """
    if rule.adaptive or rule.verdict == "swap":
        return []
    every = [("positive", "midpoint"), ("positive", "absolute"), ("minmax", "absolute")]
    sharp = rule.saliency == GIVEN.name and rule.blur is None  # so that the rule of the midpoint is the absolute one
    return [one for one in every[sharp:] if one != (rule.evidence, rule.valid)]


def correct_of(batch: Batch) -> Bool:
    """Return which rows [n] are predicted right."""
    return np.asarray(membership("accuracy")[batch.states, 0], np.bool_)


def verdicts_of(batch: Batch, kind: str, chosen: Bool) -> Verdicts:
    """Return the verdicts of the chosen rows by a kind of evidence, for any rule; shares of swaps are absolute."""
    correct = correct_of(batch)[chosen]
    if kind == "share":
        mass = column_values(batch.rows, "share")[chosen]
        return Verdicts(correct, mass, np.ones_like(mass), np.zeros_like(mass))
    mass, ceiling, floor = (column_values(batch.rows, name)[chosen] for name in (f"rma_{kind}", "ceiling", "floor"))
    return Verdicts(correct, mass, ceiling, floor)


def _chosen(batch: Batch, chosen: Bool, codes: Codes) -> Batch:
    cluster = None if batch.cluster is None else batch.cluster[chosen]
    rows = batch.rows.filter(pa.array(chosen))
    return replace(batch, rows=rows, states=codes, capped=np.zeros(len(codes), np.bool_), cluster=cluster)


def _nothing() -> tuple[Bool, Float64, Float64, Float64]:
    return np.zeros(0, np.bool_), np.zeros(0), np.zeros(0), np.zeros(0)
