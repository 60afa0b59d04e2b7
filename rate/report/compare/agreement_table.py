"""An agreement as text."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rate.report.compare.agreement import Agreement
from rate.report.tables.run import rule_line


def agreement_table(agreement: Agreement) -> RenderableType:
    """Format the two rules, the 2 x 2 table, the share of equal verdicts, kappa, and the correlation of relevance
    masses.
    """
    table = Table(box=None, pad_edge=False)
    for column in ("first \\ second", "valid", "not valid"):
        table.add_column(column, justify="left" if column.startswith("first") else "right")
    table.add_row("valid", str(agreement.both), str(agreement.only_first))
    table.add_row("not valid", str(agreement.only_second), str(agreement.neither))
    first, second, both = agreement.undefined
    equal = agreement.equal
    low, high = equal.interval or (None, None)
    interval = "" if low is None or high is None else f", 95 % interval {low:.3f} - {high:.3f}"
    return Group(
        Text(
            f"{agreement.first.name} against {agreement.second.name}: {agreement.judged} images with two verdicts",
            style="bold",
        ),
        Text(f"first:  {rule_line(agreement.first.summary.rule)}"),
        Text(f"second: {rule_line(agreement.second.summary.rule)}"),
        Text(f"undefined in the first only {first}, in the second only {second}, in both {both}"),
        table,
        Text(f"equal {_number(equal.value)} ({equal.numerator}/{equal.denominator}{interval})"),
        Text(
            f"Cohen's kappa {_number(agreement.kappa)}; rank correlation of the relevance masses "
            f"{_number(agreement.rank_correlation)}"
        ),
    )


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
