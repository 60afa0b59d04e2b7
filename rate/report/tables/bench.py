"""The figures of a bench as text."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from rate.bench.result import CAVEAT, BenchResult, Figures, Spread
from rate.report.tables.bench_csv import FASTER, NEW, SAME, SLOWER, UNJUDGED, Against, Change, Row

_HEADER = ("backend", "batch", "masks", "raw forwards/s", "engine forwards/s", "engine / raw", "images/s")


def bench_table(result: BenchResult, against: Against | None = None) -> RenderableType:
    """Format one line for each configuration and setting of masks; then refused backends, the meaning, and changes."""
    return Group(_figures(result), *_notes(result), *([] if against is None else _against(against)))


def _figures(result: BenchResult) -> Text:
    lines = [_HEADER, *(line for one in result.configurations for line in _lines(one))]
    widths = [max(len(line[k]) for line in lines) for k in range(len(_HEADER))]
    # Padded explicitly, since a table of rich would fold its cells if stdout is no terminal.
    return Text("\n".join("  ".join(_aligned(line, widths)).rstrip() for line in lines))


def _aligned(line: tuple[str, ...], widths: list[int]) -> Iterator[str]:
    yield line[0].ljust(widths[0])
    yield from (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))


def _lines(one: Figures) -> Iterator[tuple[str, ...]]:
    for masked in one.engine:
        yield (
            f"{one.backend} {one.precision}",
            str(one.batch),
            str(masked.masks),
            spread(one.raw_forwards_per_s),
            spread(masked.engine_forwards_per_s),
            spread(masked.engine_over_raw, 3),
            spread(masked.images_per_s),
        )


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
    compared = [change for change in against.compared if change.before is not None]
    if not compared:
        yield Text(
            f"against {against.file}: nothing of this machine, artifact, images and configuration is stored there"
        )
        return
    dates = sorted({change.before.date for change in compared if change.before})
    counts = ", ".join(f"{len(against.of(state))} {state}" for state in (SLOWER, FASTER, SAME, UNJUDGED, NEW))
    yield Text(
        f"against {against.file}, the last rows of this machine, artifact, images and configuration "
        f"({' to '.join(dict.fromkeys((dates[0], dates[-1])))}): {counts}"
    )
    if against.of(UNJUDGED):
        yield Text("unjudged: one round has no spread; use --rounds 2 or more")
    for versions in sorted({text for change in compared if (text := _other_versions(change))}):
        yield Text(f"versions then: {versions}")
    for state, style in ((SLOWER, "bold red"), (FASTER, "green")):
        for change in against.of(state):
            yield Text(f"{state}: {_change(change)}", style=style)
    if against.regression:
        yield Text("REGRESSION: every round of the above was slower than every round stored", style="bold red")
    elif against.regression is not None:
        yield Text("no regression beyond both spreads")


def _change(change: Change) -> str:
    was = "" if change.before is None else f", was {_row(change.before)}"
    return f"{change.now.name} {_row(change.now)}{was}"


def _row(row: Row) -> str:
    return f"{row.median:.4g} ({row.min:.4g} - {row.max:.4g})"


def _other_versions(change: Change) -> str:
    if change.before is None or change.before.versions == change.now.versions:
        return ""
    now = set(change.now.versions.split(", "))
    return ", ".join(text for text in change.before.versions.split(", ") if text not in now) or "fewer libraries"
