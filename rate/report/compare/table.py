"""A comparison and an agreement as text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rate.report.compare.agreement import AgreementDocument
from rate.report.compare.compare import TITLES, Comparison, Pair, signed
from rate.runs.summary.numbers import number, number_table
from rate.runs.summary.table import rule_line
from rate.statistics.means import SampleMean
from rate.statistics.metrics import QUADRANTS, STATES, Ratio
from rate.statistics.paired import Difference

_PROPERTIES = {"accuracy": "correct", "validity": "valid evidence"}


def comparison_table(comparison: Comparison, changed: int = 10) -> RenderableType:
    """Format one block for each pair: metrics with the interval of their difference, moves, changed samples,
    conclusions.

    Args:
        comparison: the result of `rate.report.compare.compare.compare`.
        changed: the number of changed samples to name, in order of id.
    """
    blocks = [block for pair in comparison.pairs for block in _pair(pair, changed)]
    return Group(*blocks, *(Text(text) for text in (comparison.caveat,) if text))


def _pair(pair: Pair, changed: int) -> Iterator[RenderableType]:
    one, other = pair.titles
    yield Text(f"{one} -> {other}: {pair.paired} images", style="bold")
    yield _metrics(pair)
    yield Text(f"intervals by {_methods(pair)}, {pair.units}")
    test_name = "McNemar" if pair.units.name == "samples" else "McNemar over clusters"
    for name, test in pair.mcnemar.items():
        yield Text(
            f"{_PROPERTIES[name]} in the first only {test.only_first}, in the second only {test.only_second}; "
            f"{test_name} p {p_value(test.p)}"
        )
    yield Text("")
    yield _moves(pair)
    yield from _changed(pair, changed)
    yield Text("")
    yield from (Text(sentence) for sentence in pair.conclusions)
    yield Text("")


def _metrics(pair: Pair) -> Table:
    table = number_table("", "first", "second", "difference", "95 % interval", folded=("first", "second"))
    for name, difference in pair.differences.items():
        table.add_row(TITLES[name], _share(difference.first), _share(difference.second), *_interval(difference))
    return table


def _share(share: Ratio | SampleMean) -> str:
    of = share.samples if isinstance(share, SampleMean) else f"{share.numerator}/{share.denominator}"
    return f"{number(share.value)} ({of})"


def _interval(difference: Difference) -> tuple[str, str]:
    value = "undefined" if difference.value is None else signed(difference.value)
    if difference.low is None or difference.high is None:
        return value, "none"
    return value, f"{signed(difference.low)} to {signed(difference.high)}"


def _methods(pair: Pair) -> str:
    """Name the method of all metrics, or each method with its metrics if they differ."""
    methods: dict[str, list[str]] = {}
    for name, difference in pair.differences.items():
        methods.setdefault("undefined" if difference.low is None else difference.method, []).append(TITLES[name])
    if len(methods) == 1:
        return next(iter(methods)).replace("undefined", "no method: all are undefined")
    return "; ".join(f"{method} ({', '.join(of)})" for method, of in methods.items() if method != "undefined")


def _moves(pair: Pair) -> Table:
    """Format a table with the states of the first head in rows and those of the second in columns; rare states may be
    left out.
    """
    shown = [k for k, name in enumerate(STATES) if name in QUADRANTS or pair.moves[k].any() or pair.moves[:, k].any()]
    table = number_table("first \\ second", *(STATES[k].replace("_", "\n") for k in shown))
    for i in shown:
        table.add_row(state_title(STATES[i]), *(str(pair.moves[i, j]) for j in shown))
    return table


def _changed(pair: Pair, limit: int) -> Iterator[Text]:
    count = pair.paired - int(np.trace(pair.moves))
    if not count:
        yield Text(f"none of {pair.paired} images changed")
        return
    shown = pair.changed[:limit]
    some = "" if not shown else ":" if len(shown) == count else f"; the first {len(shown)}:"
    yield Text(f"{count} of {pair.paired} images changed{some}")
    for change in shown:
        yield Text(f"  {change.id}  {state_title(change.before)} -> {state_title(change.after)}")


def state_title(state: str) -> str:
    """Format a state for readers; quadrants are unchanged."""
    return state.replace("_", " ")


def p_value(p: float) -> str:
    """Format two significant digits, never 0."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def agreement_table(agreement: AgreementDocument) -> RenderableType:
    """Format the two rules, the 2 x 2 table, the share of equal verdicts, kappa, and the rank correlation."""
    counts, undefined, equal = agreement.table, agreement.undefined, agreement.equal
    table = number_table("first \\ second", "valid", "not valid")
    table.add_row("valid", str(counts.both), str(counts.only_first))
    table.add_row("not valid", str(counts.only_second), str(counts.neither))
    interval = "" if equal.low is None else f", 95 % interval {equal.low:.3f} - {equal.high:.3f}"
    one, other = (measured.rule.quantity for measured in (agreement.first, agreement.second))
    correlated = f"the {one}" if one == other else f"the {one} and the {other}"
    return Group(
        Text(
            f"{agreement.first.name} against {agreement.second.name}: {agreement.judged} images with two verdicts",
            style="bold",
        ),
        Text(f"first:  {rule_line(agreement.first.rule)}"),
        Text(f"second: {rule_line(agreement.second.rule)}"),
        Text(
            f"undefined in the first only {undefined.first}, in the second only {undefined.second}, in both "
            f"{undefined.both}"
        ),
        table,
        Text(f"equal {number(equal.value)} ({equal.numerator}/{equal.denominator}{interval})"),
        Text(
            f"Cohen's kappa {number(agreement.kappa)}; rank correlation of {correlated} "
            f"{number(agreement.rank_correlation)}"
        ),
    )
