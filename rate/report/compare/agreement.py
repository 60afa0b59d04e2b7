"""The agreement of two measurements of one model on the same samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.errors import RunError
from rate.records import Count, Document, Record, Signed, record
from rate.report.compare.pairing import joined
from rate.report.heads import HeadRun
from rate.runs.run_document import Rule
from rate.statistics.metrics import Ratio, RatioRecord, kappa, quadrants, rank_correlation
from rate.types import Bool, Float64

_SAME = ("weights", "data")
_IMAGES = ("corrupt", "corrupt_seed")


class Measured(Record, frozen=True):
    """One of the two."""

    name: str  # RUN@HEAD
    rule: Rule


class WithoutVerdict(Record, frozen=True):
    """Samples without a verdict: in the first alone, in the second alone, in both."""

    first: Count
    second: Count
    both: Count


class VerdictTable(Record, frozen=True):
    """Samples whose evidence is valid in both, in one alone, in none."""

    both: Count
    only_first: Count
    only_second: Count
    neither: Count


class AgreementDocument(Document, frozen=True, tag="rate.agreement/2"):
    """The verdicts of two measurements on samples of one model, and the document of `rate agree --json`."""

    first: Measured
    second: Measured
    judged: Count  # samples with a verdict in both
    undefined: WithoutVerdict
    table: VerdictTable
    equal: RatioRecord  # share of equal verdicts among those
    kappa: Signed | None  # agreement beyond chance
    rank_correlation: Signed | None  # of what is compared with tau in the two


def agreement(first: HeadRun, second: HeadRun) -> AgreementDocument:
    """Compare the verdicts of ``first`` with those of ``second``, sample by sample.

    Raises:
        RunError: they are of different models or data, or have no sample in common.
    """
    differing = [name for name in _SAME if getattr(first.run.identity, name) != getattr(second.run.identity, name)]
    differing += [name for name in _IMAGES if first.run.measurement.get(name) != second.run.measurement.get(name)]
    if first.head != second.head:
        differing.append("head")
    if differing:
        raise RunError(
            f"{first.name} and {second.name} differ in {' and '.join(differing)}: agreement is that of two "
            "measurements of one head on one set; use `rate compare` for two models under one measurement"
        )
    values = list(dict.fromkeys(["valid", *(head.summary.rule.judged_column for head in (first, second))]))
    rows = (pa.concat_tables(tables) for tables in zip(*joined(first, second, values), strict=True))
    columns = [_Column.of(one, head) for one, head in zip(rows, (first, second), strict=True)]
    one, other = (column.judged for column in columns)
    judged = one & other
    counts = quadrants(*(column.valid[judged] for column in columns))
    table = VerdictTable(counts.rr, counts.rw, counts.wr, counts.ww)
    return AgreementDocument(
        first=Measured(first.name, first.summary.rule),
        second=Measured(second.name, second.summary.rule),
        judged=int(judged.sum()),
        undefined=WithoutVerdict(*(int(rows.sum()) for rows in (~one & other, one & ~other, ~one & ~other))),
        table=table,
        equal=record(RatioRecord, Ratio(table.both + table.neither, int(judged.sum()))),
        kappa=kappa(table.both, table.only_first, table.only_second, table.neither),
        rank_correlation=rank_correlation(*(column.value[judged] for column in columns)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    judged: Bool  # [m]
    valid: Bool  # [m]
    value: Float64  # [m] that is compared with tau

    @classmethod
    def of(cls, rows: pa.VerdictTable, head: HeadRun) -> _Column:
        """Take the verdicts of a head and the values behind them from its rows."""
        valid = rows["valid"]
        return cls(
            judged=np.asarray(pc.is_valid(valid).to_numpy(), np.bool_),
            valid=np.asarray(pc.fill_null(valid, False).to_numpy(), np.bool_),
            value=np.asarray(rows[head.summary.rule.judged_column].to_numpy(), np.float64),
        )
