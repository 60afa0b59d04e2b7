"""Numbers as text, and tables of them."""

from __future__ import annotations

from rich.table import Table


def number(value: float | None) -> str:
    """Format three decimals."""
    return "undefined" if value is None else f"{value:.3f}"


def number_table(first: str, *columns: str, no_wrap: bool = False) -> Table:
    """Make a table without lines: a column of titles at the left, and columns of numbers at the right.

    Args:
        first: the header of the titles.
        columns: the headers of the numbers.
        no_wrap: whether numbers are cut rather than folded where the terminal is narrow.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right", vertical="bottom", no_wrap=no_wrap)
    return table
