"""Values of masks: what they mean by a word, and what looks like several classes without one."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageDraw
from scipy import ndimage

from rate.data.images.masks import MaskMeaning, largest_part, read_mask
from rate.types import MaskValues

NUMBERS = np.zeros((24, 30), np.uint8)
NUMBERS[2:8, 2:12], NUMBERS[10:20, 5:25], NUMBERS[8:10, 5:25] = 1, 2, 255
VOC_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, *[9, 9, 9] * 252, 224, 224, 192]


def palette(numbers: np.ndarray, colours: list[int] = VOC_PALETTE) -> Image.Image:
    image = Image.fromarray(numbers, "P")
    image.putpalette(colours)
    return image


def panoptic(numbers: np.ndarray) -> Image.Image:
    ids = numbers.astype(np.int64) * 70_001
    return Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8))


def disc(form: str = "PNG", **options: object) -> Image.Image:
    """A disc with a grey edge."""
    large = Image.new("L", (400, 400))
    ImageDraw.Draw(large).ellipse((60, 90, 300, 310), fill=255)
    stream = io.BytesIO()
    large.resize((100, 100), Image.Resampling.BOX).save(stream, form, **options)
    return Image.open(stream)


@pytest.mark.parametrize(
    "image", [Image.fromarray(NUMBERS), palette(NUMBERS), Image.fromarray(NUMBERS.astype(np.uint16))]
)
def test_values_are_levels_or_palette_indices(image: Image.Image) -> None:
    found = read_mask(image, MaskValues(((2, 2),), ((255, 255),)), "m.png")
    np.testing.assert_array_equal(found.object, NUMBERS == 2)
    np.testing.assert_array_equal(found.ignored, NUMBERS == 255)
    both = read_mask(image, MaskValues(((1, 2),)), "m.png")
    np.testing.assert_array_equal(both.object, (NUMBERS == 1) | (NUMBERS == 2))
    assert both.ignored is None


def test_all_but_nothing_and_the_ignored_ones_are_the_object_where_only_these_are_named() -> None:
    found = read_mask(Image.fromarray(NUMBERS), MaskValues(None, ((255, 255),)), "m.png")
    np.testing.assert_array_equal(found.object, (NUMBERS == 1) | (NUMBERS == 2))


def test_a_value_that_is_both_is_ignored_and_one_that_no_pixel_has_changes_nothing() -> None:
    found = read_mask(Image.fromarray(NUMBERS), MaskValues(((1, 255),), ((2, 2), (77, 77))), "m.png")
    np.testing.assert_array_equal(found.object, (NUMBERS == 1) | (NUMBERS == 255))
    assert read_mask(Image.fromarray(NUMBERS), MaskValues(((1, 1),), ((77, 77),)), "m.png").ignored is None


def test_three_channels_are_one_number_and_grey_ones_their_level() -> None:
    coloured = read_mask(panoptic(NUMBERS), MaskValues(((140_002, 140_002),)), "m.png")
    np.testing.assert_array_equal(coloured.object, NUMBERS == 2)
    grey = read_mask(Image.fromarray(NUMBERS).convert("RGBA"), MaskValues(((2, 2),)), "m.png")
    np.testing.assert_array_equal(grey.object, NUMBERS == 2)


TRIMAP = np.where(NUMBERS == 0, 2, np.where(NUMBERS == 255, 3, 1)).astype(np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(NUMBERS),
        Image.fromarray(TRIMAP),
        Image.fromarray(np.where(TRIMAP == 2, 0, np.where(TRIMAP == 3, 128, 255)).astype(np.uint8)),
        Image.fromarray(np.where(NUMBERS == 2, 15, NUMBERS * (NUMBERS == 255)).astype(np.uint8)),
        palette(NUMBERS),
        palette(np.where(NUMBERS == 255, 2, NUMBERS)),
        panoptic(NUMBERS),
        Image.fromarray(NUMBERS).convert("RGB"),
        Image.fromarray(NUMBERS.astype(np.int32)),
        Image.fromarray(np.indices((20, 20)).sum(axis=0).astype(np.uint8) // 5 + 1),
    ],
    ids=["void", "trimap", "grey trimap", "one class and void", "palette", "no void", "ids", "rgb", "int32", "stripes"],
)
def test_maps_of_several_classes_are_refused_by_name_with_the_cure(image: Image.Image) -> None:
    with pytest.raises(MaskMeaning, match=r"^m\.png: .*--mask-values 1.*--mask-ignore 255.*--mask-classes FILE"):
        read_mask(image, None, "m.png")


def test_an_ignored_border_leaves_one_class_and_not_two() -> None:
    with pytest.raises(MaskMeaning):
        read_mask(Image.fromarray(TRIMAP), MaskValues(None, ()), "m.png")


ONE = (NUMBERS == 2).astype(np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(ONE),
        Image.fromarray(ONE * 255),
        Image.fromarray(ONE * 7),
        Image.fromarray(ONE * 255).convert("1"),
        Image.fromarray(ONE * 255).convert("RGB"),
        palette(ONE),
        palette(ONE, [0, 0, 0, 255, 255, 255]),
        Image.fromarray(np.stack([ONE * 200, ONE * 0, ONE * 0], axis=2)),
        Image.fromarray(np.zeros((5, 5), np.uint8)),
        Image.fromarray(np.full((5, 5), 9, np.uint8)),
    ],
    ids=["0/1", "0/255", "0/7", "bits", "rgb", "palette", "grey palette", "red", "empty", "full"],
)
def test_masks_of_one_object_need_no_word(image: Image.Image) -> None:
    found = read_mask(image, None, "m.png")
    assert found.ignored is None
    np.testing.assert_array_equal(found.object, np.asarray(image.convert("RGB")).any(axis=2))


@pytest.mark.parametrize("image", [disc(), disc("JPEG", quality=80), disc().resize((250, 250))])
def test_a_grey_edge_is_the_object_and_needs_no_word(image: Image.Image) -> None:
    assert abs(read_mask(image, None, "m.png").object.mean() - np.pi * 60 * 55 / 200**2) < 0.12


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=14)), st.booleans())
def test_the_largest_part_is_that_of_scipy(mask: np.ndarray, tall: bool) -> None:
    mask = mask.T if tall else mask
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    found = largest_part(mask)
    if not count:
        assert not found.any()
        return
    assert found.sum() == sizes.max()
    assert len(set(parts[found].tolist())) == 1


def test_the_largest_part_replaces_all_of_the_object() -> None:
    numbers = np.zeros((9, 20), np.uint8)
    numbers[1:3, 1:3], numbers[4:8, 5:9], numbers[0, 19] = 5, 5, 255
    found = read_mask(Image.fromarray(numbers), MaskValues(((5, 5),), ((255, 255),), largest=True), "m.png")
    assert np.argwhere(found.object).min(axis=0).tolist() == [4, 5]
    assert int(found.object.sum()) == 16
    assert found.ignored is not None
    assert int(found.ignored.sum()) == 1
