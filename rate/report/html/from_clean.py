"""What becomes, under each corruption, of the samples that are right on valid evidence when clean, paired by id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rate.report.compare.compare import Pair, pair
from rate.report.compare.pairing import NoSampleInCommon
from rate.report.heads import HeadRun, load_heads
from rate.statistics.metrics import Ratio
from rate.statistics.paired import Difference
from rate.studies.corruption_grid import Grid

BECAME = {
    "still so": ("rr",),
    "right, invalid": ("rw",),
    "right, no verdict": ("undefined_right",),
    "wrong": ("wr", "ww", "undefined_wrong"),
    "no prediction": ("error",),
}
"""What a sample may become, with the states of each."""


@dataclass(frozen=True, slots=True, eq=False)
class FromClean:
    """One head under one corruption against the same head on clean images."""

    name: str  # of the run
    head: str
    pair: Pair
    became: dict[str, Ratio]  # by `BECAME`, of the samples right on valid evidence when clean

    @property
    def change(self) -> Difference:
        """The change of PT over the samples that both have."""
        return self.pair.differences["pt"]


def loaded(grid: Grid, heads: Iterable[str]) -> dict[tuple[str, str], HeadRun]:
    """Load heads of every run of a grid, by run and head.

    Raises:
        RunError: a run is damaged.
    """
    wanted = set(heads)
    every = ((cell.run, one) for cell in grid.cells for one in load_heads(str(grid.folder / cell.run)))
    return {(run, one.head): one for run, one in every if one.head in wanted}


def from_clean(grid: Grid, runs: dict[tuple[str, str], HeadRun]) -> tuple[dict[tuple[str, str], FromClean], list[str]]:
    """Pair every run with the clean one, by id; return the pairs by run and head, and why others have none.

    Raises:
        RunError: a part of a run is missing or damaged.
    """
    pairs, apart = {}, []
    clean = None if grid.clean is None else grid.clean.run
    for (name, head), run in runs.items():
        if clean in (None, name):
            continue
        try:
            own = pair(runs[clean, head], run, changed=0, across=True)
        except NoSampleInCommon as error:
            apart.append(str(error))
            continue
        _, sums = next(own.slices(None))
        pairs[name, head] = FromClean(name, head, own, {what: sums.became("rr", one) for what, one in BECAME.items()})
    return pairs, apart
