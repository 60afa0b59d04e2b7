"""A synthetic set with planted evidence: objects on scenes with exact masks, and a shortcut outside the object.

The class is the shape of the object; its size, place, angle, texture and colours are random. A shortcut (the scene's
family, or a tag in a corner) agrees with the class in a share ``rho`` of train and test, and is independent of it in
test-broken. A model that can only use the object has PT near 1; one that can only use the shortcut has PT near 0.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rate.data.make.drawing import SHAPES, colour, luminance, scene, shape, texture, unit_area, weave
from rate.errors import ConfigError
from rate.files import new_folder
from rate.outputs import require_new_folder
from rate.types import Bool, Float64

CLASSES = tuple(SHAPES)
SHORTCUTS = ("none", "scene", "tag")
SYNTHETIC_COLUMNS = ("id", "image", "label", "mask", "split", "shortcut", "caption")

_TAG_SHARE = 0.14
_TRIES = 50


@dataclass(frozen=True, slots=True)
class Synthetic:
    """The settings of a synthetic set."""

    train: int = 2000
    test: int = 400
    size: int = 96  # side of the images, pixels
    shortcut: str = "tag"  # none | scene | tag
    rho: float = 0.9  # share of train and test in which the shortcut agrees with the class
    seed: int = 0
    smallest: float = 0.03  # smallest and largest area of the object, shares of the image
    largest: float = 0.40
    woven: float = 0.0  # share of objects in the stripes of their class, so that every part of them tells it

    def __post_init__(self) -> None:
        if self.shortcut not in SHORTCUTS:
            raise ConfigError(f"shortcut must be one of {', '.join(SHORTCUTS)}; got {self.shortcut!r}")
        for name, share in (("rho", self.rho), ("woven", self.woven)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{name} is a share, so it must lie in [0, 1]; got {share}")
        if not 32 <= self.size <= 2048:
            raise ConfigError(f"size must lie between 32 and 2048 pixels, got {self.size}")
        if min(self.train, self.test) < 0 or self.train + self.test == 0:
            raise ConfigError(f"train and test must be numbers of images, got {self.train} and {self.test}")
        if not 0.005 <= self.smallest <= self.largest <= 0.5:
            raise ConfigError(
                f"object areas must satisfy 0.005 <= smallest <= largest <= 0.5, got {self.smallest} and {self.largest}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticImage:
    """One image of the set."""

    pixels: Float64  # [h,w,3] in [0, 1]
    mask: Bool  # [h,w] the object's visible pixels
    label: str
    shortcut: str  # class that the shortcut names; "" without a shortcut


def write_set(
    settings: Synthetic, out: Path, threads: int = 2, tick: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """Write images, masks and ``manifest.csv`` under ``out``, and return the manifest's path.

    The folder is written all or nothing.

    Raises:
        UsageError: ``out`` exists and is not empty, or cannot be written.
        StorageError: the disk is full.
    """
    require_new_folder("--out", out)
    splits = {"train": settings.train, "test": settings.test, "test-broken": settings.test}
    todo = [(split, number) for split, count in splits.items() for number in range(count)]
    with new_folder(out) as draft:
        for split in splits:
            (draft / "images" / split).mkdir(parents=True)
            (draft / "masks" / split).mkdir(parents=True)
        pool = ThreadPoolExecutor(threads)
        rows = []
        try:
            for row in pool.map(lambda item: _write_one(settings, draft, *item), todo):
                rows.append(row)
                tick(len(rows), len(todo))
        finally:  # also when the disk is full: pending tasks are dropped
            pool.shutdown(cancel_futures=True)
        _write_manifest(draft / "manifest.csv", rows)
    return out / "manifest.csv"


def picture(settings: Synthetic, split: str, number: int) -> SyntheticImage:
    """Draw image ``number`` of a split, which depends on settings, split and number alone."""
    return Scenery(settings, split, number).picture()


class Scenery:
    """The object and the scene of one picture as separate parts, each of which can be drawn with another one.

    A scene holds everything except the object, including the tag. A replacement of the object has the same centre,
    radius, angle and paint; a replacement of the scene shows another class if the scene is the shortcut.
    """

    def __init__(self, settings: Synthetic, split: str, number: int) -> None:
        self._settings, self._key = settings, f"{settings.seed} {split} {number}"
        rng = _generator(self._key)
        self.label = number % len(CLASSES)
        self.named = _shortcut_class(settings, split, self.label, rng)
        self.scene, self._forbidden = _scene(settings, self.named, rng)
        self._pose = _pose(settings, CLASSES[self.label], self._forbidden, rng)
        self._paint = _paint(settings.size, float(luminance(self.scene).mean()), rng)

    def picture(self) -> SyntheticImage:
        """Draw the picture."""
        coverage = self._coverage(self.label)
        return SyntheticImage(
            pixels=self.with_object(self.label),
            mask=coverage >= 0.5,
            label=CLASSES[self.label],
            shortcut="" if self._settings.shortcut == "none" else CLASSES[self.named],
        )

    def with_object(self, label: int, scene: Float64 | None = None) -> Float64:
        """Draw [h,w,3] in [0, 1] the object of a class at this place, on this scene or another."""
        scene = self.scene if scene is None else scene
        return (scene + self._coverage(label)[..., None] * (self._paint_of(label) - scene)).clip(0, 1)

    def other_scene(self, named: int) -> Float64:
        """Draw [h,w,3] a new scene whose shortcut names the class ``named``."""
        return _scene(self._settings, named, _generator(f"{self._key} scene {named}"))[0]

    def _paint_of(self, label: int) -> Float64:
        if _generator(f"{self._key} woven").random() >= self._settings.woven:
            return self._paint
        stripes = weave(self._settings.size, label, _generator(f"{self._key} weave"))
        rng = _generator(f"{self._key} colours")
        ends = [colour(rng.random(), 0.6, value) for value in (0.95, 0.35)]
        return np.asarray(ends[0] + stripes[..., None] * (ends[1] - ends[0]))

    def _coverage(self, label: int) -> Float64:
        # The shape of another class may cover other pixels, but never the tag.
        return np.where(self._forbidden, 0.0, shape(CLASSES[label], self._settings.size, *self._pose))


def _generator(key: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little"))


def _scene(settings: Synthetic, named: int, rng: np.random.Generator) -> tuple[Float64, Bool]:
    """Draw [h,w,3] a scene whose shortcut names a class, and mark [h,w] where no object may be."""
    count = len(CLASSES)
    family = named if settings.shortcut == "scene" else int(rng.integers(count))
    pixels = scene(settings.size, family, count, rng)
    forbidden = np.zeros((settings.size,) * 2, np.bool_)
    if settings.shortcut == "tag":
        _put_tag(pixels, forbidden, named)
    return pixels, forbidden


def _shortcut_class(settings: Synthetic, split: str, label: int, rng: np.random.Generator) -> int:
    """Draw the class that the shortcut names: the label with probability rho; any class in test-broken."""
    count = len(CLASSES)
    if split == "test-broken":
        return int(rng.integers(count))
    if rng.random() < settings.rho:
        return label
    return int((label + 1 + rng.integers(count - 1)) % count)


def _put_tag(pixels: Float64, forbidden: Bool, named: int) -> None:
    """Draw a framed square in the upper left corner with the colours of a class; objects do not overlap it."""
    side = round(len(pixels) * _TAG_SHARE)
    half = side // 2
    hue = named / len(CLASSES)
    pixels[:side, :side] = colour(hue, 0.9, 0.9)
    pixels[:half, :half] = pixels[half:side, half:side] = colour(hue + 0.5, 0.9, 0.5)
    forbidden[:side, :side] = True


def _pose(
    settings: Synthetic, name: str, forbidden: Bool, rng: np.random.Generator
) -> tuple[tuple[float, float], float, float]:
    """Draw centre (x, y), radius and angle of an object of random area outside ``forbidden``, in pixels and radians."""
    size = settings.size
    area = math.exp(rng.uniform(math.log(settings.smallest), math.log(settings.largest)))
    radius = min(math.sqrt(area / unit_area(name)), 0.49) * size
    for _ in range(_TRIES):
        pose = (
            (rng.uniform(radius, size - radius), rng.uniform(radius, size - radius)),
            radius,
            rng.uniform(0, 2 * np.pi),
        )
        if not (shape(name, size, *pose)[forbidden] > 0).any():
            return pose
        radius = max(radius * 0.97, 0.12 * size)
    return (size - radius, size - radius), radius, 0.0


def _paint(size: int, behind: float, rng: np.random.Generator) -> Float64:
    """Draw [h,w,3] a texture in two colours that contrast with a background of luminance ``behind``."""
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


def _write_manifest(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, SYNTHETIC_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def pictures(settings: Synthetic, split: str, count: int) -> Iterator[SyntheticImage]:
    """Yield the first ``count`` pictures of a split, without writing files."""
    return (picture(settings, split, number) for number in range(count))
