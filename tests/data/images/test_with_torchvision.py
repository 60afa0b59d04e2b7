"""The pixel path of torchvision: the pixels of Pillow within two levels, and the same refusals."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rate.data.images.geometry import Geometry
from rate.data.images.prepare import pixel_path, prepare
from rate.errors import SampleError
from rate.types import Sample

pytest.importorskip("torchvision", reason="the path is torchvision's")

CENTER = Geometry(56, 64, (0.5,) * 3, (0.25,) * 3)
SQUASH = Geometry(56, 56, (0.5,) * 3, (0.25,) * 3, crop="squash", interpolation="bilinear")
BOX = ((10.0, 5.0, 60.0, 50.0),)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def written(image: Image.Image, path: Path, **how: object) -> Sample:
    image.save(path, **how)
    return Sample(path.stem, "a", str(path), boxes=BOX)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


FILES = {
    "jpeg": (lambda one: one, "a.jpg", {"quality": 90}),
    "progressive": (lambda one: one, "a.jpg", {"progressive": True}),
    "full colour": (lambda one: one, "a.jpg", {"subsampling": 0}),
    "turned": (lambda one: one, "a.jpg", {"exif": turned(6)}),
    "grey": (lambda one: one.convert("L"), "a.jpg", {}),
    "cmyk": (lambda one: one.convert("CMYK"), "a.jpg", {}),
    "png": (lambda one: one, "a.png", {}),
    "palette": (lambda one: one.convert("P"), "a.png", {}),
    "alpha": (lambda one: one.convert("RGBA"), "a.webp", {"lossless": True}),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("geometry", [CENTER, SQUASH], ids=["center", "squash"])
@pytest.mark.parametrize("size", [(150, 110), (97, 203), (60, 60), (40, 31)])
def test_levels_are_those_of_pillow_within_one(tmp_path, name, geometry, size) -> None:
    change, file, how = FILES[name]
    sample = written(change(picture(*size)), tmp_path / file, **how)
    ours, theirs = prepare(sample, geometry), prepare(sample, geometry, library="torchvision")
    difference = np.abs(ours.picture.levels.astype(int) - theirs.picture.levels)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05
    assert theirs.picture.levels.shape == (3, 56, 56)
    np.testing.assert_array_equal(ours.region, theirs.region)
    assert ours.sample.content == theirs.sample.content


def test_what_cannot_be_read_is_refused_alike(tmp_path, monkeypatch) -> None:
    whole = io.BytesIO()
    picture(300, 200).save(whole, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(whole.getvalue()[:3000])
    with pytest.raises(SampleError, match=r"cut\.jpg: cannot be decoded"):
        prepare(Sample("a", "a", str(tmp_path / "cut.jpg"), boxes=BOX), CENTER, library="torchvision")
    narrow = written(picture(1, 4000), tmp_path / "narrow.jpg")
    monkeypatch.setenv("RATE_MAX_PIXELS", "100000")
    with pytest.raises(SampleError, match="the resize would make it 64 x 256000"):
        prepare(narrow, CENTER, library="torchvision")


def test_the_path_is_named() -> None:
    assert pixel_path("bicubic", "torchvision") == "torchvision-bicubic/1"
