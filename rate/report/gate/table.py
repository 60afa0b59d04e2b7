"""A gate's decision as text for a terminal or a log."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from rate.report.gate.checked_values import interval_text, number, printable
from rate.report.gate.decide import Decision
from rate.report.gate.result import Result

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


WIDTH = 80
"""The cells of a line; only a name or a number that is longer makes it wider."""

_HEADER = ("result", "check", "value", "95 % interval", "of")


def gate_table(decision: Decision) -> RenderableType:
    """Format each result in the order of the policy with its reason below it, then notices, then the verdict."""
    lines = result_lines(decision)
    widths = [max(cell_len(line[k]) for line in (_HEADER, *lines)) for k in range(5)]
    widths[1] = min(widths[1], max(len(_HEADER[1]), WIDTH - sum(widths[k] + 2 for k in (0, 2, 3, 4))))
    return Group(
        _padded(_HEADER, widths, "bold"),
        *(text for line in lines for text in _block(line, widths)),
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


def _block(line: Line, widths: list[int]) -> Iterator[Text]:
    """Format the numbers of a result beside the first line of its name, then the rest of it and the reason."""
    state, name, *numbers, why = line
    first, *rest = [name] if cell_len(name) <= widths[1] else wrap(name, widths[1], break_on_hyphens=False)
    yield _padded((state, first, *numbers), widths, _STYLES[state])
    under = " " * (widths[0] + 2)
    yield from (Text(under + one) for one in rest)
    yield from (Text(under + one) for one in wrap(why, max(20, WIDTH - len(under)), break_long_words=False))


def _padded(cells: tuple[str, ...], widths: list[int], style: str) -> Text:
    first, *others = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True))
    return Text.assemble((first, style), "  ", "  ".join(others).rstrip())
