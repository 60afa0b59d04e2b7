"""The border of a region as an SVG path."""

from __future__ import annotations

import itertools

import numpy as np

from rate.runs.rows import block_means
from rate.types import Bool

FINEST = 112
"""The largest side of a region; beside a picture of 224 pixels a finer one looks the same."""

_Point = tuple[int, int]


def reduced(region: Bool, finest: int = FINEST) -> Bool:
    """Reduce a region to a side of at most ``finest`` [h,h]: a block is inside if at least half of it is."""
    return region if len(region) <= finest else block_means(region, finest) >= 0.5


def border(region: Bool) -> str:
    """Return the `d` of a path along the border of region [h,w], one unit per pixel; it is empty for an empty region.

    The path has closed loops of horizontal and vertical moves. Filled by the even-odd rule, it is the region.
    """
    edges = _edges(region)
    loops = []
    while edges:
        loops.append(_path(_loop(edges)))
    return "".join(loops)


def _edges(region: Bool) -> dict[_Point, list[_Point]]:
    """Map each start to the ends of the unit edges between inside and outside, with the inside to their right."""
    padded = np.pad(region, 1)
    inside = padded[1:-1, 1:-1]
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),  # the upper edge, traversed to the right
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    edges: dict[_Point, list[_Point]] = {}
    for neighbour, start, end in sides:
        for y, x in np.argwhere(inside & ~neighbour).tolist():
            edges.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))
    return edges


def _loop(edges: dict[_Point, list[_Point]]) -> list[_Point]:
    """Remove one closed loop from ``edges`` and return it."""
    first = next(iter(edges))
    walk = [first]
    while len(walk) == 1 or walk[-1] != first:
        ends = edges[walk[-1]]
        here = walk[-1]
        walk.append(ends.pop())
        if not ends:
            del edges[here]
    return walk


def _path(walk: list[_Point]) -> str:
    """Join steps in one direction to one move."""
    moves: list[list[int]] = []
    for (x0, y0), (x1, y1) in itertools.pairwise(walk):
        step = [x1 - x0, y1 - y0]
        if moves and _direction(moves[-1]) == _direction(step):
            moves[-1] = [moves[-1][0] + step[0], moves[-1][1] + step[1]]
        else:
            moves.append(step)
    drawn = "".join(f"h{x}" if x else f"v{y}" for x, y in moves)
    return f"M{walk[0][0]} {walk[0][1]}{drawn}z"


def _direction(move: list[int]) -> tuple[int, int]:
    return int(np.sign(move[0])), int(np.sign(move[1]))
