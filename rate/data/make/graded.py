"""Pictures whose true share of the object and the scene in a model's score is known by rendering.

For every picture of split `test` the set holds the same object on other scenes, other objects on the same scene, and
other objects on other scenes. Only the object or the scene changes, and no mask is involved. With f the score of the
picture's class, and a bar for the mean over the pictures of a part::

    f11 = f(object, scene)          f10 = mean f(object, another scene)
    f01 = mean f(another object, scene)   f00 = mean f(another object, another scene)

the Shapley values of the two players are ``phi_object = ((f11 - f01) + (f10 - f00)) / 2`` and
``phi_scene = ((f11 - f10) + (f01 - f00)) / 2``, and the true share is `rate.kernels.swap.share` of the two.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from rate.data.make.synth import CLASSES, Scenery, Synthetic
from rate.types import Float64

GRADED = "graded.csv"
RENDERING_COLUMNS = ("id", "part", "image", "object", "scene")


def renderings(settings: Synthetic, split: str, number: int) -> Iterator[tuple[str, int, int, Float64]]:
    """Yield (part, class of the object, class that the scene's shortcut names, pixels [h,w,3] in [0, 1]) of one
    picture.

    Every other class replaces the object, the scene and both once, so n classes give 1 + 3 (n - 1) renderings.
    """
    own = Scenery(settings, split, number)
    count = len(CLASSES)
    objects = [(own.label + k) % count for k in range(1, count)]
    # Shifted, so that an f00 object does not get the scene of its own class where the shortcut agrees.
    scenes = [(own.named + 1 + k) % count for k in range(1, count - 1)] + [(own.named + 1) % count]
    drawn = [own.other_scene(named) for named in scenes]
    yield "f11", own.label, own.named, own.with_object(own.label)
    for named, scene in zip(scenes, drawn, strict=True):
        yield "f10", own.label, named, own.with_object(own.label, scene)
    for label in objects:
        yield "f01", label, own.named, own.with_object(label)
    for label, named, scene in zip(objects, scenes, drawn, strict=True):
        yield "f00", label, named, own.with_object(label, scene)


def write_graded(
    settings: Synthetic, out: Path, threads: int = 2, tick: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """Write the renderings of every picture of split `test` and ``graded.csv`` into a set that `write_set` wrote.

    Its rows have the picture's ``id`` in the manifest, the ``part``, and the object and scene that were drawn.
    """
    (out / "graded").mkdir(exist_ok=True)
    rows: list[dict[str, str]] = []
    with ThreadPoolExecutor(threads) as pool, (out / GRADED).open("w", newline="", encoding="utf-8") as file:
        for done, some in enumerate(
            pool.map(lambda number: _write_one(settings, out, number), range(settings.test)), 1
        ):
            rows += some
            tick(done, settings.test)
        writer = csv.DictWriter(file, RENDERING_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return out / GRADED


def _write_one(settings: Synthetic, out: Path, number: int) -> list[dict[str, str]]:
    rows = []
    for k, (part, label, named, pixels) in enumerate(renderings(settings, "test", number)):
        image = f"graded/{number:06d}-{k:02d}.png"
        Image.fromarray((pixels * 255).round().astype(np.uint8)).save(out / image, compress_level=1)
        named_by = "" if settings.shortcut == "none" else CLASSES[named]
        rows.append(
            {"id": f"test/{number:06d}", "part": part, "image": image, "object": CLASSES[label], "scene": named_by}
        )
    return rows
