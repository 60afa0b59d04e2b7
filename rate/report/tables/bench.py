"""The figures of a bench as text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import get_args

from rich.console import Group, RenderableType
from rich.text import Text

from rate.bench.result import CAVEAT, BenchResult, Figures, Spread
from rate.report.tables.bench_csv import Against, Row, State

_HEADER = ("backend", "batch", "masks", "raw forwards/s", "engine forwards/s", "engine / raw", "images/s")
_STYLES = {"slower": "bold red", "faster": "green"}


def bench_table(result: BenchResult, against: Against | None = None) -> RenderableType:
    """Format one line for each configuration and setting of masks; then refused backends, the meaning, and changes."""
    return Group(_figures(result), *_notes(result), *([] if against is None else _against(against)))


def _figures(result: BenchResult) -> Text:
    lines = [_HEADER, *(line for one in result.configurations for line in _lines(one))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # Padded explicitly, since a table of rich would fold its cells if stdout is no terminal.
    return Text("\n".join("  ".join(map(str.rjust, line, widths)) for line in lines))


def _lines(one: Figures) -> Iterator[tuple[str, ...]]:
    name, raw = f"{one.backend} {one.precision}", spread(one.raw_forwards_per_s)
    for masked in one.engine:
        engine = spread(masked.engine_forwards_per_s), spread(masked.engine_over_raw, 3), spread(masked.images_per_s)
        yield name, str(one.batch), str(masked.masks), raw, *engine


def spread(values: Spread, places: int | None = None) -> str:
    """Format median (min - max) with three to four digits, or with ``places`` decimals."""
    low, high = values.min, values.max
    if places is None:
        places = max(0, 2 - math.floor(math.log10(high)))
    return f"{values.median:.{places}f} ({low:.{places}f} - {high:.{places}f})"


def _notes(result: BenchResult) -> Iterator[Text]:
    yield Text("")
    for refused in result.refused:
        yield Text(f"refused: {refused.backend} {refused.precision}: {refused.reason}", style="yellow")
    yield Text(f"{result.rounds} rounds: median (min - max); threads {result.threads}; images: {result.data.images}")
    yield Text(f"{result.machine.name}; " + ", ".join(f"{name} {version}" for name, version in result.versions.items()))
    yield Text("raw: the open backend alone, clean rows. engine: draw, schedule, perturb, fold, verdict.")
    yield Text(CAVEAT)


def _against(against: Against) -> Iterator[Text]:
    yield Text("")
    compared = [(change, change.before) for change in against.compared if change.before is not None]
    if not compared:
        yield Text(
            f"against {against.file}: nothing of this machine, artifact, images and configuration is stored there"
        )
        return
    dates = sorted({before.date for _, before in compared})
    states = {name: against.count(name) for name in get_args(State)}
    yield Text(
        f"against {against.file}, the last rows of this machine, artifact, images and configuration "
        f"({' to '.join(dict.fromkeys((dates[0], dates[-1])))}): "
        + ", ".join(f"{number} {name}" for name, number in states.items())
    )
    if states["unjudged"]:
        yield Text("unjudged: one round has no spread; use --rounds 2 or more")
    for versions in sorted({before.versions for change, before in compared if before.versions != change.now.versions}):
        yield Text(f"versions then: {versions}")
    for change, before in compared:
        if (style := _STYLES.get(change.state)) is not None:
            yield Text(f"{change.state}: {change.name} {_row(change.now)}, was {_row(before)}", style=style)
    if against.regression:
        yield Text("REGRESSION: every round of a slower quantity was slower than every round stored", style="bold red")
    elif against.regression is not None:
        yield Text("no regression beyond both spreads")


def _row(row: Row) -> str:
    return f"{row.median:.4g} ({row.min:.4g} - {row.max:.4g})"
