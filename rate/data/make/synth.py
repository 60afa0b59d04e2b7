"""A synthetic set with planted truth: objects on scenes with exact masks, and a shortcut outside the object.

Class = shape of the object; its size, place, angle, texture and colours are chance. A shortcut (the scene's family, or
a tag in a corner) agrees with the class in a share ``rho`` of train and test, and says nothing in test-broken. A model
that can only use the object has PT near 1, one that can only use the shortcut has PT near 0.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rate.data.make.drawing import SHAPES, colour, luminance, scene, shape, texture, unit_area
from rate.errors import ConfigError, DataError
from rate.types import Bool, Float64

CLASSES = tuple(SHAPES)
SHORTCUTS = ("none", "scene", "tag")
COLUMNS = ("id", "image", "label", "mask", "split", "shortcut", "caption")

_TAG_SHARE = 0.14
_TRIES = 50


@dataclass(frozen=True, slots=True)
class Synthetic:
    """What to make."""

    train: int = 2000
    test: int = 400
    size: int = 96  # side of the images, pixels
    shortcut: str = "tag"  # none | scene | tag
    rho: float = 0.9  # share of train and test in which the shortcut agrees with the class
    seed: int = 0
    smallest: float = 0.03  # area of the smallest and of the largest object, shares of the image
    largest: float = 0.40

    def __post_init__(self) -> None:
        if self.shortcut not in SHORTCUTS:
            raise ConfigError(f"shortcut must be one of {', '.join(SHORTCUTS)}; got {self.shortcut!r}")
        if not 0 <= self.rho <= 1:
            raise ConfigError(f"rho is a share, so it must lie in [0, 1]; got {self.rho}")
        if not 32 <= self.size <= 2048:
            raise ConfigError(f"size must lie between 32 and 2048 pixels, got {self.size}")
        if min(self.train, self.test) < 0 or self.train + self.test == 0:
            raise ConfigError(f"train and test must be numbers of images, got {self.train} and {self.test}")
        if not 0.005 <= self.smallest <= self.largest <= 0.5:
            raise ConfigError(
                f"object areas must satisfy 0.005 <= smallest <= largest <= 0.5, got {self.smallest} and {self.largest}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One image of the set."""

    pixels: Float64  # [h,w,3] in [0, 1]
    mask: Bool  # [h,w] the object's visible pixels
    label: str
    shortcut: str  # the class that the shortcut names; "" without one


def write_set(
    settings: Synthetic, out: Path, threads: int = 2, tick: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """Write images, masks and ``manifest.csv`` under ``out``; returns the manifest's path.

    Raises:
        DataError: ``out`` exists and is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"--out {out} exists and is not an empty folder; choose a new one")
    splits = {"train": settings.train, "test": settings.test, "test-broken": settings.test}
    todo = [(split, number) for split, count in splits.items() for number in range(count)]
    for split in splits:
        (out / "images" / split).mkdir(parents=True, exist_ok=True)
        (out / "masks" / split).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(threads) as pool:
        rows = []
        for row in pool.map(lambda item: _write_one(settings, out, *item), todo):
            rows.append(row)
            tick(len(rows), len(todo))
    return _write_manifest(out / "manifest.csv", rows)


def picture(settings: Synthetic, split: str, number: int) -> Picture:
    """Image ``number`` of a split: a function of settings, split and number alone."""
    key = f"{settings.seed} {split} {number}"
    rng = np.random.default_rng(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little"))
    count = len(CLASSES)
    label = number % count
    named = _shortcut_class(settings, split, label, rng)
    family = named if settings.shortcut == "scene" else int(rng.integers(count))
    pixels = scene(settings.size, family, count, rng)
    forbidden = np.zeros((settings.size,) * 2, np.bool_)
    if settings.shortcut == "tag":
        _put_tag(pixels, forbidden, named)
    coverage = _placed_object(settings, CLASSES[label], forbidden, rng)
    paint = _paint(settings.size, float(luminance(pixels).mean()), rng)
    pixels = pixels + coverage[..., None] * (paint - pixels)
    return Picture(
        pixels=pixels.clip(0, 1),
        mask=coverage >= 0.5,
        label=CLASSES[label],
        shortcut="" if settings.shortcut == "none" else CLASSES[named],
    )


def _shortcut_class(settings: Synthetic, split: str, label: int, rng: np.random.Generator) -> int:
    """The class that the shortcut names: the label with probability rho, else another; any class in test-broken."""
    count = len(CLASSES)
    if split == "test-broken":
        return int(rng.integers(count))
    if rng.random() < settings.rho:
        return label
    return int((label + 1 + rng.integers(count - 1)) % count)


def _put_tag(pixels: Float64, forbidden: Bool, named: int) -> None:
    """A framed square in the upper left corner, its colours those of a class; objects keep clear of it."""
    side = round(len(pixels) * _TAG_SHARE)
    half = side // 2
    hue = named / len(CLASSES)
    pixels[:side, :side] = colour(hue, 0.9, 0.9)
    pixels[:half, :half] = pixels[half:side, half:side] = colour(hue + 0.5, 0.9, 0.5)
    forbidden[:side, :side] = True


def _placed_object(settings: Synthetic, name: str, forbidden: Bool, rng: np.random.Generator) -> Float64:
    """[h,w] coverage of an object of random area, place and angle that stays clear of ``forbidden``."""
    size = settings.size
    area = math.exp(rng.uniform(math.log(settings.smallest), math.log(settings.largest)))
    radius = min(math.sqrt(area / unit_area(name)), 0.49) * size
    for _ in range(_TRIES):
        centre = (rng.uniform(radius, size - radius), rng.uniform(radius, size - radius))
        coverage = shape(name, size, centre, radius, rng.uniform(0, 2 * np.pi))
        if not (coverage[forbidden] > 0).any():
            return coverage
        radius = max(radius * 0.97, 0.12 * size)
    return shape(name, size, (size - radius, size - radius), radius, 0.0)


def _paint(size: int, behind: float, rng: np.random.Generator) -> Float64:
    """[h,w,3] a texture in two colours that stand out from a background of luminance ``behind``."""
    while True:
        ends = [colour(rng.random(), rng.uniform(0.3, 1.0), rng.uniform(0.1, 1.0)) for _ in range(2)]
        if all(abs(float(luminance(end)) - behind) > 0.2 for end in ends):
            break
    return np.asarray(ends[0] + texture(size, rng)[..., None] * (ends[1] - ends[0]))


def _write_one(settings: Synthetic, out: Path, split: str, number: int) -> dict[str, str]:
    made = picture(settings, split, number)
    name = f"{number:06d}.png"
    pixels = (made.pixels * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(out / "images" / split / name, compress_level=1)
    Image.fromarray(made.mask.astype(np.uint8) * 255).save(out / "masks" / split / name)
    return {
        "id": f"{split}/{number:06d}",
        "image": f"images/{split}/{name}",
        "label": made.label,
        "mask": f"masks/{split}/{name}",
        "split": split,
        "shortcut": made.shortcut,
        "caption": f"a photo of a {made.label}",
    }


def _write_manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)
    return path


def pictures(settings: Synthetic, split: str, count: int) -> Iterator[Picture]:
    """The first ``count`` pictures of a split, without writing anything."""
    return (picture(settings, split, number) for number in range(count))
