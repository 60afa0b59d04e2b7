"""Small charts of values in order, such as of severities or of releases, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rate.report.html.charts import Tick

WIDTH, HEIGHT = 264.0, 172.0
LEFT, RIGHT, TOP, BOTTOM = 36.0, 12.0, 8.0, 36.0
FRAME = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}

_STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0)
_MOST_LEVELS = 5
_TITLE_LETTERS = 8
_MOST_TITLES = 6


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a place from 0 to 1 along the axis; None is undefined."""

    at: float
    title: str
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Dot:
    """A drawn value."""

    x: float
    y: float
    says: str


@dataclass(frozen=True, slots=True)
class Trend:
    """Values, joined by a line that is broken where one is undefined, with their intervals."""

    path: str
    whiskers: str
    dots: tuple[Dot, ...]
    parts: tuple[tuple[str, str], ...]  # name and path of thin lines
    ticks: tuple[Tick, ...]
    levels: tuple[Tick, ...]
    zero: float | None  # y of 0, if it lies inside


def trend(points: Sequence[Point], parts: Mapping[str, Sequence[Point]] | None = None) -> Trend | None:
    """Draw points and the thin lines of ``parts``; None if no value is defined."""
    parts = parts or {}
    known = [one for one in points if one.value is not None]
    ends = [end for one in known for end in (one.low, one.value, one.high) if end is not None]
    ends += [one.value for some in parts.values() for one in some if one.value is not None]
    if not known:
        return None
    levels = _levels(min(ends), max(ends))
    low, high = levels[0], levels[-1]

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    def line(some: Iterable[Point]) -> str:
        path, pen = [], "M"
        for one in some:
            path += [] if one.value is None else [f"{pen}{_x(one.at):.1f} {y(one.value):.1f}"]
            pen = "M" if one.value is None else "L"
        return "".join(path)

    return Trend(
        path=line(points),
        whiskers="".join(
            f"M{_x(one.at):.1f} {y(one.low):.1f}V{y(one.high):.1f}"
            for one in known
            if one.low is not None and one.high is not None
        ),
        dots=tuple(Dot(_x(one.at), y(one.value), _says(one)) for one in known if one.value is not None),
        parts=tuple((name, line(some)) for name, some in parts.items()),
        ticks=tuple(Tick(_x(one.at), text) for one, text in zip(points, _titles(points), strict=True)),
        levels=tuple(Tick(y(value), f"{value:.3f}".rstrip("0").rstrip(".")) for value in levels),
        zero=y(0.0) if low < 0.0 < high else None,
    )


def places(count: int) -> list[float]:
    """Return places for ``count`` points in order, with a margin at both ends."""
    return [0.05 + 0.9 * k / (count - 1) if count > 1 else 0.5 for k in range(count)]


def _levels(low: float, high: float) -> list[float]:
    """Choose round values from below the lowest to above the highest one, few enough to be read."""
    for step in _STEPS:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 1)
        if last - first < _MOST_LEVELS:
            break
    return [step * k for k in range(first, last + 1)]


def _titles(points: Sequence[Point]) -> list[str]:
    """Name every point if there is room, and else number them and leave some out."""
    if len(points) <= _MOST_TITLES and all(len(one.title) <= _TITLE_LETTERS for one in points):
        return [one.title for one in points]
    every = math.ceil(len(points) / 10)
    return [str(k + 1) if k % every == 0 else "" for k in range(len(points))]


def _says(one: Point) -> str:
    interval = "" if one.low is None or one.high is None else f" ({one.low:.3f} to {one.high:.3f})"
    return f"{one.title}: {one.value:.3f}{interval}"


def _x(at: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * at
