"""Numbers as text, and tables of them."""

from __future__ import annotations

from collections.abc import Collection

from rich.table import Table


def number(value: float | None) -> str:
    """Format three decimals."""
    return "undefined" if value is None else f"{value:.3f}"


def number_table(first: str, *columns: str, folded: Collection[str] | None = None) -> Table:
    """Make a table without lines: a column of titles at the left, and columns of numbers at the right.

    Args:
        first: the header of the titles.
        columns: the headers of the numbers.
        folded: those of them that may be folded where the terminal is narrow; None = all, and the titles.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column(first, no_wrap=folded is not None)
    for column in columns:
        no_wrap = folded is not None and column not in folded
        table.add_column(column, justify="right", vertical="top" if folded else "bottom", no_wrap=no_wrap)
    return table
