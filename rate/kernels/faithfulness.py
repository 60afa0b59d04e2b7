"""Deletion and insertion (Petsiuk, Das, Saenko 2018): does the score follow the map?

Pixels are taken away in the order of the map, or put onto an empty image, in equal steps; what matters most to the
model should matter first. A pixel that is away has the channel mean, 0 in normalised pixels, both times; the authors'
code inserts into a blurred image instead.
"""

from __future__ import annotations

import hashlib

import numpy as np

from rate.types import Float32, Float64, Int64

STEPS = 48
"""Equal steps from the whole image to nothing. The authors' code takes 224, of 224 pixels each."""


def order_of(evidence: Float64, sample_id: str) -> Int64:
    """Pixels [h*w] by falling evidence [h,w]; equal ones in a random order, a function of the id alone.

    Positive evidence is 0 on much of an image. In the order of the rows its upper part would go first.
    """
    chance = random_order(sample_id, evidence.size)
    return chance[np.argsort(-evidence.ravel()[chance], kind="stable")]


def random_order(sample_id: str, pixels: int) -> Int64:
    """A permutation of ``pixels`` numbers, a function of the id alone."""
    key = hashlib.blake2b(b"order" + sample_id.encode(), digest_size=8).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).permutation(pixels)


def without(image: Float32, order: Int64, step: int, keep: bool = False) -> Float32:
    """``image`` [3,h,w] without the first ``step`` of `STEPS` parts of ``order``; ``keep``: with nothing but them."""
    chosen = np.zeros(order.size, np.bool_)
    chosen[order[: round(step * order.size / STEPS)]] = True
    return np.where(chosen.reshape(image.shape[1:]) == keep, image, np.float32(0))


def area(curve: Float64) -> float:
    """Area under a score [STEPS+1] over the share of the image, by the trapezoid rule."""
    return float((curve[1:] + curve[:-1]).mean() / 2.0)
