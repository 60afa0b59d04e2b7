"""Deletion and insertion (Petsiuk, Das, Saenko 2018) measure whether the score follows the map.

Deletion removes pixels in the order of the map, and insertion adds them to an empty image, both in equal steps. The
score of a faithful map changes early. A removed pixel has the mean colour, which a model sees as 0, in both; the
authors' code inserts into a blurred image instead.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import numpy as np

from rate.types import Bool, Float64, HeatMap, Int64

STEPS = 48
"""Number of equal steps from the whole image to an empty one. The authors' code takes 224, of 224 pixels each."""


def pixel_order(evidence: HeatMap, sample_id: str) -> Annotated[Int64, "h*w"]:
    """Order pixels by falling evidence; pixels of equal evidence are in a random order that depends on the id alone.

    Positive evidence is 0 on much of an image. Row order would remove the upper part of those pixels first.

    >>> pixel_order(np.array([[0.1, 0.7], [0.9, 0.3]]), "sample")
    array([2, 1, 3, 0])
    """
    chance = random_order(sample_id, evidence.size)
    return chance[np.argsort(-evidence.ravel()[chance], kind="stable")]


def random_order(sample_id: str, pixels: int) -> Annotated[Int64, "h*w"]:
    """Permute ``pixels`` numbers; the permutation depends on the id alone.

    >>> sorted(random_order("sample", 4).tolist())
    [0, 1, 2, 3]
    """
    key = hashlib.blake2b(b"order" + sample_id.encode(), digest_size=8).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).permutation(pixels)


def kept_pixels(order: Annotated[Int64, "h*w"], step: int, keep: bool = False) -> Annotated[Bool, "h*w"]:
    """Mark the pixels that are left without the first ``step`` of `STEPS` parts of ``order``; ``keep`` marks the parts.

    >>> order = np.array([1, 0])
    >>> kept_pixels(order, STEPS // 2).tolist(), kept_pixels(order, STEPS // 2, keep=True).tolist()
    ([True, False], [False, True])
    """
    kept = np.full(order.size, not keep)
    kept[order[: round(step * order.size / STEPS)]] = keep
    return kept


def area_under_curve(curve: Annotated[Float64, "STEPS+1"]) -> float:
    """Integrate a score over the share of the image, by the trapezoid rule.

    >>> area_under_curve(np.array([0.0, 0.5, 1.0]))
    0.5
    """
    return float((curve[1:] + curve[:-1]).mean() / 2.0)
