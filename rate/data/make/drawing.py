"""Shapes, textures and scenes as arrays, the parts of a synthetic picture; each depends on its generator alone."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from rate.types import Bool, Float64

SUPERSAMPLE = 3
"""Samples per pixel and axis; a pixel belongs to a shape if at least half of its samples do."""


def _disc(u: Float64, v: Float64) -> Bool:
    return np.asarray(u * u + v * v < 1)


def _square(u: Float64, v: Float64) -> Bool:
    return np.maximum(abs(u), abs(v)) < 0.75


def _triangle(u: Float64, v: Float64) -> Bool:
    return np.asarray((v < 0.5) & (v > -1 + 1.732 * abs(u)))


def _star(u: Float64, v: Float64) -> Bool:
    sector = np.pi / 5
    angle = np.arctan2(u, -v) % (2 * sector)
    folded = np.minimum(angle, 2 * sector - angle)
    tip, dent = 1.0, 0.5
    # The edge from the tip (angle 0) to the dent (angle pi / 5), in polar form.
    edge = tip * dent * np.sin(sector) / (tip * np.sin(folded) + dent * np.sin(sector - folded))
    return np.asarray(np.hypot(u, v) < edge)


def _cross(u: Float64, v: Float64) -> Bool:
    return (np.minimum(abs(u), abs(v)) < 0.3) & (np.maximum(abs(u), abs(v)) < 0.95)


def _ring(u: Float64, v: Float64) -> Bool:
    radius = np.hypot(u, v)
    return (radius < 1) & (radius > 0.55)


def _crescent(u: Float64, v: Float64) -> Bool:
    return (np.hypot(u, v) < 1) & (np.hypot(u - 0.55, v) > 0.75)


def _heart(u: Float64, v: Float64) -> Bool:
    x, y = 1.25 * u, -1.25 * v + 0.1
    return (x * x + y * y - 0.8) ** 3 - x * x * y**3 < 0


SHAPES: dict[str, Callable[[Float64, Float64], Bool]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "crescent": _crescent,
    "heart": _heart,
}
"""Maps each name to an indicator on coordinates in which the shape lies inside the unit circle."""


@lru_cache(maxsize=len(SHAPES))
def unit_area(name: str) -> float:
    """Compute the area of a shape in the units of its coordinates."""
    axis = np.linspace(-1.1, 1.1, 801)
    u, v = np.meshgrid(axis, axis)
    return float(SHAPES[name](u, v).mean() * 2.2**2)


def shape(name: str, size: int, centre: tuple[float, float], radius: float, angle: float) -> Float64:
    """Draw [h,w] the coverage in [0, 1] of a shape with circumscribed ``radius`` at ``centre`` (x, y), in pixels and
    radians.
    """
    axis = (np.arange(size * SUPERSAMPLE) + 0.5) / SUPERSAMPLE
    x, y = (axis - centre[0]) / radius, (axis - centre[1]) / radius
    cos, sin = np.cos(angle), np.sin(angle)
    u = cos * x[None, :] + sin * y[:, None]
    v = -sin * x[None, :] + cos * y[:, None]
    inside = SHAPES[name](u, v).reshape(size, SUPERSAMPLE, size, SUPERSAMPLE)
    return np.asarray(inside.mean(axis=(1, 3)))


def texture(size: int, rng: np.random.Generator) -> Float64:
    """Draw [h,w] in [0, 1] stripes, checks, dots, grain or a plain area, independent of the class."""
    kind = rng.integers(5)
    angle, period = rng.uniform(0, np.pi), size * rng.uniform(0.06, 0.2)
    axis = np.arange(size, dtype=np.float64)
    u = (np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]) * 2 * np.pi / period
    v = (-np.sin(angle) * axis[None, :] + np.cos(angle) * axis[:, None]) * 2 * np.pi / period
    if kind == 0:
        return np.asarray(0.5 + 0.5 * np.sin(u))
    if kind == 1:
        return np.asarray(np.sin(u) * np.sin(v) > 0, np.float64)
    if kind == 2:
        return np.asarray(np.cos(u) + np.cos(v) > 0.7, np.float64)
    if kind == 3:
        return rng.random((size, size))
    return np.full((size, size), rng.random())


def scene(size: int, family: int, families: int, rng: np.random.Generator) -> Float64:
    """Draw [h,w,3] in [0, 1] soft hills and waves; ``family`` determines hue and direction, the rest is random."""
    axis = np.arange(size, dtype=np.float64) / size
    angle = np.pi * (family + rng.uniform(-0.2, 0.2)) / families
    phase, waves = rng.uniform(0, 2 * np.pi), rng.uniform(3, 6)
    along = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
    value = 0.5 + 0.25 * np.sin(2 * np.pi * waves * along + phase) + 0.35 * (_hills(size, rng) - 0.5)
    value += rng.normal(0, 0.03, (size, size))
    hue = (family + rng.uniform(-0.15, 0.15)) / families
    dark, light = colour(hue, 0.55, 0.25), colour(hue, 0.35, 0.85)
    return np.asarray(dark + value.clip(0, 1)[..., None] * (light - dark))


def _hills(size: int, rng: np.random.Generator) -> Float64:
    """Draw [h,w] in [0, 1] the bilinear interpolation of noise on a coarse grid."""
    cells = 5
    grid = rng.random((cells + 1, cells + 1))
    at = np.arange(size) * cells / size
    low = at.astype(np.int64)
    part = at - low
    rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
    return np.asarray(rows[:, low] * (1 - part) + rows[:, low + 1] * part)


def colour(hue: float, saturation: float, value: float) -> Float64:
    """Convert a colour to RGB [3] in [0, 1]; the hue is periodic with period 1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def luminance(rgb: Float64) -> Float64:
    """Compute the Rec. 709 luminance of [...,3]."""
    return np.asarray(rgb @ np.array([0.2126, 0.7152, 0.0722]))


WEAVES = tuple((angle, period) for period in (3.0, 6.0) for angle in (0, 45, 90, 135))
"""The direction in degrees and the period in pixels of each class's stripes."""


def weave(size: int, label: int, rng: np.random.Generator) -> Float64:
    """Draw [h,w] the stripes of a class in a phase by chance: 0 or 1 in every pixel."""
    angle, period = WEAVES[label]
    axis = np.arange(size)
    along = np.cos(np.radians(angle)) * axis[None, :] + np.sin(np.radians(angle)) * axis[:, None]
    return np.asarray(np.sin(2 * np.pi * (along / period + rng.random())) > 0, np.float64)
