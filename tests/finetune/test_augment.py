"""Augmentation: a function of seed, epoch and row; with all draws neutral it changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from rate.data.images.geometry import Geometry
from rate.data.images.prepare import prepare
from rate.finetune.augment import DRAWS, augment, draws, plain
from rate.finetune.images import DecodedImages, exact, roomy
from rate.types import Float32, Sample, UInt8

GEOMETRY = Geometry(16, 16, (0.5, 0.4, 0.3), (0.25, 0.25, 0.3))
NEUTRAL = [1.0, 0.5, 0.5, 0.5, 0.9, 0.5, 0.5, 0.5, 0.5]
"""The whole image, its aspect kept, centred, not mirrored, not turned, its colours kept."""


def image(height: int = 16, width: int = 16, seed: int = 0) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def neutral(**changed: float) -> Float32:
    row = np.array([NEUTRAL], np.float32)
    for name, value in changed.items():
        row[0, int(name.removeprefix("d"))] = value
    return row


def test_a_row_s_draws_are_its_own_whatever_the_number_of_rows() -> None:
    assert np.array_equal(draws(3, 2, 10)[:4], draws(3, 2, 4))
    assert draws(3, 2, 4).shape == (4, DRAWS)
    assert not np.array_equal(draws(3, 2, 4), draws(3, 3, 4))
    assert not np.array_equal(draws(3, 2, 4), draws(4, 2, 4))
    every = draws(0, 1, 2000)
    assert every.min() >= 0.0
    assert every.max() < 1.0


def test_neutral_draws_are_an_evaluation_s_pixels() -> None:
    found = augment([image()], neutral(), GEOMETRY)
    torch.testing.assert_close(found, plain([image()], GEOMETRY), atol=1e-4, rtol=1e-4)


def test_flip_mirrors_and_a_turn_there_and_a_turn_back_differ() -> None:
    flipped = augment([image()], neutral(d4=0.1), GEOMETRY)
    torch.testing.assert_close(flipped, plain([image()], GEOMETRY).flip(3), atol=1e-4, rtol=1e-4)
    left, right = (augment([image()], neutral(d5=value), GEOMETRY) for value in (0.0, 1.0))
    assert not torch.allclose(left, right, atol=0.1)


def test_a_crop_is_a_part_of_the_image_at_the_place_drawn() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8), (3, 64, 64)).copy()
    grey = Geometry(16, 16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    left, right = (augment([ramp], neutral(d0=0.0, d2=place), grey)[0, 0, 8] for place in (0.0, 0.99999))
    side = 0.5**0.5
    assert float(left.max()) == pytest.approx(side, abs=0.05)
    assert float(left.min()) == pytest.approx(0.0, abs=0.05)
    assert float(right.min()) == pytest.approx(1.0 - side, abs=0.05)
    assert float(right.max()) == pytest.approx(1.0, abs=0.05)


def test_brightness_contrast_and_saturation_do_what_they_say() -> None:
    grey = Geometry(16, 16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    before = plain([image()], grey)
    torch.testing.assert_close(augment([image()], neutral(d6=0.0), grey), before * 0.8, atol=1e-4, rtol=1e-4)
    flat = augment([image()], neutral(d7=0.0), grey)
    assert float(flat.std()) == pytest.approx(0.8 * float(before.std()), rel=0.03)
    dull = augment([image()], neutral(d8=0.0), grey)
    assert float(dull.std(dim=1).mean()) == pytest.approx(0.8 * float(before.std(dim=1).mean()), rel=0.01)


def test_a_batch_gives_each_image_what_it_gets_alone() -> None:
    uniform = draws(0, 1, 3)
    for images in ([image(20, 20, k) for k in range(3)], [image(20, 30), image(40, 20), image(20, 20)]):
        together = augment(images, uniform, GEOMETRY)
        for k, one in enumerate(images):
            torch.testing.assert_close(together[k : k + 1], augment([one], uniform[k : k + 1], GEOMETRY))


@pytest.mark.parametrize("crop", ["center", "squash"])
def test_images_come_in_order_with_and_without_memory(crop, tmp_path) -> None:
    geometry = Geometry(16, 16, (0.5, 0.4, 0.3), (0.25, 0.25, 0.3), crop)
    samples = []
    for k in range(5):
        Image.fromarray(image(30, 40, k).transpose(1, 2, 0)).save(tmp_path / f"{k}.png")
        samples.append(Sample(f"s{k}", "x", str(tmp_path / f"{k}.png"), boxes=()))
    samples.insert(2, Sample("lost", "x", str(tmp_path / "lost.png"), boxes=()))
    batches = [[4, 0], [3], [1, 2]]
    for room in (0, 2 * 3 * 16 * 16, 1 << 20):
        images = DecodedImages(samples, exact(geometry), 2, room)
        assert images.bytes <= room
        assert [id for id, _ in images.failed] == ["lost"]
        assert [sample.id for sample in images.samples] == [f"s{k}" for k in range(5)]
        for batch, found in zip(batches, images.stream(batches), strict=True):
            expected = np.stack([prepare(images.samples[k], geometry).picture.pixels for k in batch])
            torch.testing.assert_close(plain(found, geometry), torch.from_numpy(expected), atol=1e-6, rtol=0)
    (wide,) = next(images.converted(roomy(geometry)).stream([[0]]))
    assert wide.shape == ((3, 19, 25) if crop == "center" else (3, 19, 19))
