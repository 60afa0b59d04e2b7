"""The agreement of two measurements of one model on the same samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.errors import RunError
from rate.metrics import Ratio, RatioRecord, kappa, quadrants, rank_correlation
from rate.records import Count, Document, Record, Signed, record
from rate.report.compare.pairing import in_common
from rate.report.heads import HeadRun
from rate.runs.run_document import Rule
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


class Table(Record, frozen=True):
    """Samples whose evidence is valid in both, in one alone, in none."""

    both: Count
    only_first: Count
    only_second: Count
    neither: Count


class AgreementDocument(Document, frozen=True, tag="rate.agreement/2"):
    """The document of `rate agree --json`."""

    first: Measured
    second: Measured
    judged: Count
    undefined: WithoutVerdict
    table: Table
    equal: RatioRecord
    kappa: Signed | None
    rank_correlation: Signed | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """The verdicts of two measurements on samples of one model. "Both" counts samples that are valid in both."""

    first: HeadRun
    second: HeadRun
    both: int
    only_first: int
    only_second: int
    neither: int
    undefined: tuple[int, int, int]  # without a verdict in the first alone, in the second alone, in both
    rank_correlation: float | None  # of what is compared with tau in the two

    @property
    def judged(self) -> int:
        """The number of samples with a verdict in both."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def equal(self) -> Ratio:
        """The share of equal verdicts among the samples with two."""
        return Ratio(self.both + self.neither, self.judged)

    @property
    def kappa(self) -> float | None:
        """The agreement beyond chance."""
        return kappa(self.both, self.only_first, self.only_second, self.neither)

    @property
    def document(self) -> AgreementDocument:
        """Return the agreement as JSON."""
        return AgreementDocument(
            first=Measured(self.first.name, self.first.summary.rule),
            second=Measured(self.second.name, self.second.summary.rule),
            judged=self.judged,
            undefined=WithoutVerdict(*self.undefined),
            table=record(Table, self),
            equal=record(RatioRecord, self.equal),
            kappa=self.kappa,
            rank_correlation=self.rank_correlation,
        )


def agreement(first: HeadRun, second: HeadRun) -> Agreement:
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
    rows = in_common(first, second)
    columns = [_Column.of(one, head) for one, head in zip(rows, (first, second), strict=True)]
    judged = columns[0].judged & columns[1].judged
    table = quadrants(*(column.valid[judged] for column in columns))
    values = (column.value[judged] for column in columns)
    return Agreement(
        first=first,
        second=second,
        both=table.rr,
        only_first=table.rw,
        only_second=table.wr,
        neither=table.ww,
        undefined=(
            int((~columns[0].judged & columns[1].judged).sum()),
            int((columns[0].judged & ~columns[1].judged).sum()),
            int((~columns[0].judged & ~columns[1].judged).sum()),
        ),
        rank_correlation=rank_correlation(*values),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    judged: Bool  # [m]
    valid: Bool  # [m]
    value: Float64  # [m] that is compared with tau

    @classmethod
    def of(cls, rows: pa.Table, head: HeadRun) -> _Column:
        """Take the verdicts of a head and the values behind them from its rows."""
        valid = rows["valid"]
        return cls(
            judged=np.asarray(pc.is_valid(valid).to_numpy(), np.bool_),
            valid=np.asarray(pc.fill_null(valid, False).to_numpy(), np.bool_),
            value=np.asarray(rows[head.summary.rule.judged_column].to_numpy(), np.float64),
        )
