"""The figures of a bench as text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import get_args

from rich.console import Group, RenderableType
from rich.text import Text

from rate.bench.document import Against, BenchDocument, RoundValues, Row, State

_HEADER = ("backend", "batch", "masks", "raw forwards/s", "engine forwards/s", "engine / raw", "images/s")
_STYLES = {"slower": "bold red", "faster": "green"}


def bench_table(bench: BenchDocument) -> RenderableType:
    """Format one line for each row; then refused backends, the meaning, and changes."""
    lines = [_HEADER, *map(_line, bench.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # Padded explicitly, since a table of rich would fold its cells if stdout is no terminal.
    table = Text("\n".join("  ".join(map(str.rjust, line, widths)) for line in lines))
    return Group(
        table, *_notes(bench), *([] if bench.against is None else _against(bench.against, bench.rows[0].versions))
    )


def _line(row: Row) -> tuple[str, ...]:
    speeds = spread(row.raw_forwards_per_s), spread(row.engine_forwards_per_s)
    figures = *speeds, spread(row.engine_over_raw, 3), spread(row.images_per_s)
    return f"{row.backend} {row.precision}", str(row.batch), str(row.masks), *figures


def spread(values: RoundValues, places: int | None = None) -> str:
    """Format median (min - max) with three to four digits, or with ``places`` decimals."""
    low, high = values.min, values.max
    if places is None:
        places = max(0, 2 - math.floor(math.log10(high)))
    return f"{values.median:.{places}f} ({low:.{places}f} - {high:.{places}f})"


def _notes(bench: BenchDocument) -> Iterator[Text]:
    yield Text("")
    for refused in bench.refused:
        yield Text(f"refused: {refused.backend} {refused.precision}: {refused.reason}", style="yellow")
    row = bench.rows[0]
    rounds = len(row.engine_forwards_per_s.rounds)
    yield Text(f"{rounds} rounds: median (min - max); threads {row.threads}; images: {bench.images}")
    yield Text(f"{row.machine}; {row.versions}")
    yield Text("raw: the open backend alone, clean rows. engine: draw, schedule, perturb, fold, verdict.")
    yield from (Text(str(gpu)) for gpu in bench.gpus)
    best = bench.recommended
    yield Text(
        f"fastest here: --backend {best.backend} --precision {best.precision} --batch {best.batch}, "
        f"{best.engine_forwards_per_s:.4g} forwards/s (a larger batch gains less than 3 %)"
    )
    yield Text(bench.caveat)


def _against(against: Against, now: str) -> Iterator[Text]:
    """Format the comparison of rows that were measured with the versions ``now``."""
    yield Text("")
    where = "this machine, artifact, images and configuration"
    if not against.dates:
        yield Text(f"against {against.file}: nothing of {where} is stored there")
        return
    states = Counter(change.state for change in against.compared)
    dates = " to ".join(dict.fromkeys((against.dates[0], against.dates[-1])))
    counts = ", ".join(f"{states[state]} {state}" for state in get_args(State))
    yield Text(f"against {against.file}, the last rows of {where} ({dates}): {counts}")
    if states["unjudged"]:
        yield Text("unjudged: one round has no spread; use --rounds 2 or more")
    yield from (Text(f"versions then: {versions}") for versions in against.versions if versions != now)
    for change in against.compared:
        if change.before is not None and (style := _STYLES.get(change.state)) is not None:
            figures = f"{spread(change.now)}, was {spread(change.before)}"
            yield Text(f"{change.state}: {change.name} {change.quantity} {figures}", style=style)
    if against.regression:
        yield Text("REGRESSION: every round of a slower quantity was slower than every round stored", style="bold red")
    elif against.regression is not None:
        yield Text("no regression beyond both spreads")
