"""A gate's decision as text for a terminal or a log."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from rate.report.gate.checked_values import interval_text, number, printable
from rate.report.gate.decide import Decision, Result

FOLDED_FROM = 10
"""The number of passing slices or runs from which a check shows their number instead of a line for each."""

_STYLES = {
    "fail": "bold red",
    "error": "bold red",
    "inconclusive": "yellow",
    "warn": "yellow",
    "pass": "green",
    "failed": "bold red",
    "passed": "bold green",
}

Line = tuple[str, ...]  # state, check, value, interval, denominator, reason


def gate_table(decision: Decision) -> RenderableType:
    """Format one line for each result in the order of the policy, then notices, then the verdict."""
    lines = result_lines(decision)
    widths = [max(cell_len(line[k]) for line in lines) for k in range(5)]
    return Group(
        *(_padded(line, widths) for line in lines),
        *(Text(f"note: {printable(remark)}", style="yellow") for remark in decision.remarks),
        Text(printable(decision.headline), style=_STYLES.get(decision.verdict, "bold yellow")),
    )


def result_lines(decision: Decision) -> list[Line]:
    """Format one line for each result in the order of the policy; many slices that pass are one line."""
    by_check = ([one for one in decision.results if one.check == check] for check in decision.policy.checks)
    return [line for results in by_check for line in _lines(results)]


def _lines(results: list[Result]) -> Iterator[Line]:
    passing = [result for result in results if result.state == "pass"]
    folded = len(passing) > FOLDED_FROM
    for result in results:
        if not (folded and result.state == "pass"):
            yield _line(result)
    if folded:
        check, of_grid = results[0].check, results[0].run is not None
        what = "runs" if of_grid else f"slices by {check.slice}"
        if of_grid and check.slice is not None:
            what = f"slices by {check.slice} of all runs"
        yield "pass", printable(check.name), "", "", "", f"{len(passing)} of {len(results)} {what}"


def _line(result: Result) -> Line:
    reading = result.reading
    return (
        result.state,
        printable(result.name),
        "undefined" if reading.value is None else number(reading.value),
        interval_text(reading),
        str(reading.denominator) if reading.numerator is None else f"{reading.numerator}/{reading.denominator}",
        printable(result.why),
    )


def _padded(line: Line, widths: list[int]) -> Text:
    cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=False)]
    return Text.assemble((cells[0], _STYLES[line[0]]), "  ", "  ".join([*cells[1:], line[5]]))
