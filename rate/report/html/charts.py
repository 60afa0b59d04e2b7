"""The coordinates of the drawings, which the templates put into SVG elements.

A drawing is WIDTH x HEIGHT units with the margins below; y grows downwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc

from rate.report.heads import HeadRun
from rate.runs.summary.slice_sums import column_values, holds
from rate.statistics.metrics import QUADRANTS, quadrant_codes
from rate.types import Float64

WIDTH, HEIGHT = 360.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 38.0, 22.0, 18.0, 34.0
FRAME = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}

BIN = 0.05
"""The width of a bar of the distribution, in units of localization or relevance mass."""

BEYOND = 0.2
"""Localization is drawn up to this distance below 0 and above 1; values beyond are in the outermost bars."""

_LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0)
_LINE_HEIGHT = 12.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """The images of one quadrant within [low, high)."""

    quadrant: str
    count: int
    low: float
    high: float
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Correct predictions above the axis, wrong ones below; the threshold separates valid from invalid evidence."""

    quantity: str  # what is compared with tau
    tau: float
    judged: int
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    levels: tuple[Tick, ...]
    axis: float  # y of the zero line
    threshold: float  # x of tau


@dataclass(frozen=True, slots=True)
class Line:
    """One metric over tau."""

    name: str
    path: str  # interrupted where the metric is undefined
    end: Tick | None  # position of its name


@dataclass(frozen=True, slots=True)
class Sweep:
    """PT and IR as functions of tau."""

    lines: tuple[Line, ...]
    ticks: tuple[Tick, ...]
    levels: tuple[Tick, ...]
    threshold: float
    tau: float


def histograms(heads: Sequence[HeadRun]) -> list[Histogram | None]:
    """Make one histogram for each head, all with the same vertical scale; None if no image has a verdict."""
    counted = [_counted(head) for head in heads]
    shares = [counts / max(1, counts.sum()) for counts, _ in counted]
    up = max((float(share[:2].sum(axis=0).max()) for share in shares), default=0.0)
    down = max((float(share[2:].sum(axis=0).max()) for share in shares), default=0.0)
    return [
        _histogram(head, counts, edges, up, down) if counts.sum() else None
        for head, (counts, edges) in zip(heads, counted, strict=True)
    ]


def sweep_of(head: HeadRun) -> Sweep | None:
    """Draw the stored sweep; None without values, and for adaptive masks: to stop early at one tau biases others."""
    rule, points = head.summary.rule, head.summary.sweep
    lines = curves({name.upper(): [(point.tau, getattr(point, name)) for point in points] for name in ("pt", "ir")})
    if is_adaptive(head) or not any(line.end for line in lines):
        return None
    return Sweep(
        lines=lines,
        ticks=ticks({value: f"{value:g}" for value in (0, 0.25, 0.5, 0.75, 1)}),
        levels=SHARES,
        threshold=_x(rule.tau, 0, 1),
        tau=rule.tau,
    )


def curves(named: Mapping[str, Sequence[tuple[float, float | None]]]) -> tuple[Line, ...]:
    """Draw a line of points (x, share) in [0, 1] for every name, interrupted where the share is None."""
    lines = []
    for name, values in named.items():
        known = [_y(value) for _, value in values if value is not None]
        lines.append(Line(name, _broken(values), Tick(known[-1], name) if known else None))
    return _separate_names(lines)


def ticks(labels: Mapping[float, str]) -> tuple[Tick, ...]:
    """Place labels along the x axis, at positions in [0, 1]."""
    return tuple(Tick(_x(place, 0, 1), text) for place, text in labels.items())


def is_adaptive(head: HeadRun) -> bool:
    """Tell whether masks were drawn until a verdict was clear."""
    return head.summary.rule.adaptive or not head.sums.settled.keys() <= {"fixed"}


def _counted(head: HeadRun) -> tuple[Float64, Float64]:
    """Compute counts [rr rw wr ww, bins] and the edges of the bins, which include the threshold."""
    rule = head.summary.rule
    midpoint, tau = rule.valid == "midpoint", rule.tau
    edges = _bin_edges(tau, *((-BEYOND, 1 + BEYOND) if midpoint else (0.0, 1.0)))
    counts = np.zeros((len(QUADRANTS), len(edges) - 1))
    for rows in head.batches(["valid", "correct", rule.judged_column]):
        judged = rows.filter(pc.is_valid(rows["valid"]))
        values = column_values(judged, rule.judged_column)
        valid = holds(judged["valid"])
        # The stored verdict determines the side of the threshold, since the stored value is rounded to f32.
        values = np.where(valid, np.maximum(values, tau), np.minimum(values, np.nextafter(tau, -1)))
        values = values.clip(edges[0], edges[-1])
        codes = quadrant_codes(holds(judged["correct"]), valid)
        counts += [np.histogram(values[codes == k], edges)[0] for k in range(len(QUADRANTS))]
    return counts, edges


def _bin_edges(tau: float, low: float, high: float) -> Float64:
    first, last = math.floor((low - tau) / BIN + 1e-9), math.ceil((high - tau) / BIN - 1e-9)
    return np.asarray(tau + BIN * np.arange(first, last + 1), np.float64)


def _histogram(head: HeadRun, counts: Float64, edges: Float64, up: float, down: float) -> Histogram:
    rule, judged = head.summary.rule, int(counts.sum())
    scale = (HEIGHT - TOP - BOTTOM) / (up + down)
    axis = TOP + scale * up
    first, last = float(edges[0]), float(edges[-1])
    bars = []
    for name, row in zip(QUADRANTS, counts, strict=True):
        for k in np.flatnonzero(row).tolist():
            left, right = _x(float(edges[k]), first, last), _x(float(edges[k + 1]), first, last)
            height = scale * float(row[k]) / judged
            top = axis - height if name[0] == "r" else axis
            bars.append(
                Bar(name, int(row[k]), float(edges[k]), float(edges[k + 1]), left, top, right - left - 1, height)
            )
    return Histogram(
        quantity=rule.quantity,
        tau=rule.tau,
        judged=judged,
        bars=tuple(bars),
        ticks=tuple(Tick(_x(value, first, last), f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1)),
        levels=tuple(_levels(up, down, axis, scale)),
        axis=axis,
        threshold=_x(rule.tau, first, last),
    )


def _levels(up: float, down: float, axis: float, scale: float) -> list[Tick]:
    """Choose round shares, few enough that their labels do not overlap."""
    step = next((s for s in _LEVELS if scale * s >= 1.6 * _LINE_HEIGHT), 1.0)
    numbers = range(-math.floor(down / step + 1e-9), math.floor(up / step + 1e-9) + 1)
    return [Tick(axis - scale * step * k, f"{100 * step * abs(k):g} %") for k in numbers]


def _separate_names(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Separate overlapping names: each moves below the one above, and all move up from below the axis."""
    ends = sorted((line.end for line in lines if line.end is not None), key=lambda end: end.at)
    places: dict[str, float] = {}
    lowest = -math.inf
    for end in ends:
        lowest = places[end.text] = max(end.at, lowest + _LINE_HEIGHT)
    up = max(0.0, lowest - (HEIGHT - BOTTOM - _LINE_HEIGHT / 2))
    return tuple(
        line if line.end is None else replace(line, end=Tick(places[line.name] - up, line.name)) for line in lines
    )


def _broken(values: Sequence[tuple[float, float | None]]) -> str:
    path, pen = [], "M"
    for tau, value in values:
        if value is None:
            pen = "M"
            continue
        path.append(f"{pen}{_x(tau, 0, 1):.1f} {_y(value):.1f}")
        pen = "L"
    return "".join(path)


def _x(value: float, low: float, high: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)


def _y(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)


SHARES = tuple(Tick(_y(value), f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1))
"""Labels along a y axis of shares."""
