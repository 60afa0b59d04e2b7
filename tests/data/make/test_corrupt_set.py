"""A set under corruptions: ids, labels and regions stay those of the clean set; what is there is not made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import picture
from PIL import Image

from rate.data.formats.manifest_files import write_rows
from rate.data.images.corrupt import CROP, Corruption, corrupted
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import load_image, load_mask
from rate.data.make.corrupt_set import corrupt_set
from rate.data.manifest import read_manifest
from rate.errors import ConfigError, DataError

WANTED = (Corruption("contrast", 2), Corruption("gaussian_noise", 1))
SAME = Geometry(224, 224, (0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    picture(tmp_path / "set/a.jpg", (320, 240))
    picture(tmp_path / "set/b.png", (100, 300))
    mask = np.zeros((300, 100), np.uint8)
    mask[100:220, 20:90] = 255
    Image.fromarray(mask).save(tmp_path / "set/mask.png")
    rows = [
        {"id": "../a, 1", "image": "a.jpg", "label": "cat", "boxes": [[40.0, 30.0, 200.0, 200.0]], "split": "test"},
        {"image": "b.png", "label": "dog", "mask": "mask.png", "group": "g", "cluster": "c", "split": "train"},
    ]
    write_rows(tmp_path / "set/m.jsonl", rows)
    return tmp_path / "set/m.jsonl"


def test_images_regions_and_ids(manifest, tmp_path):
    out = tmp_path / "out"
    report = corrupt_set(manifest, WANTED, out)
    assert report.manifests == (out / "contrast-2.csv", out / "gaussian_noise-1.csv")
    assert (report.samples, report.made, report.kept, report.failed) == (2, 4, 0, ())
    clean = read_manifest(manifest).samples
    for corruption, path in zip(WANTED, report.manifests, strict=True):
        for before, after in zip(clean, read_manifest(path).samples, strict=True):
            for name in ("id", "label", "group", "cluster"):
                assert getattr(after, name) == getattr(before, name)
            crop = CROP.image_to_crop(load_image(before.image))
            expected = corrupted(crop, corruption, before.id)
            np.testing.assert_array_equal(np.asarray(load_image(after.image)), np.asarray(expected))
    boxed, masked = read_manifest(report.manifests[0]).samples
    np.testing.assert_array_equal(
        SAME.region_from_boxes(boxed.boxes or (), (224, 224)), CROP.region_from_boxes(clean[0].boxes or (), (320, 240))
    )
    np.testing.assert_array_equal(
        load_mask(masked.mask or "").object,
        CROP.region_from_mask(load_mask(clean[1].mask or "").object.astype(np.uint8)),
    )
    assert [sample.id for sample in read_manifest(report.manifests[0], split="train").samples] == ["b.png"]


@pytest.mark.parametrize("cut", [0, 1, 90])  # percent that is left
def test_again_makes_what_is_missing_or_was_made_otherwise(manifest, tmp_path, cut):
    out = tmp_path / "out"
    corrupt_set(manifest, WANTED, out)
    first, second = read_manifest(out / "contrast-2.csv").samples
    untouched = Path(second.image).stat().st_mtime_ns
    whole = Path(first.image).read_bytes()
    Path(first.image).write_bytes(whole[: cut * len(whole) // 100])
    report = corrupt_set(manifest, WANTED, out)
    assert (report.made, report.kept) == (1, 3)
    assert Path(first.image).read_bytes() == whole
    assert Path(second.image).stat().st_mtime_ns == untouched
    picture(manifest.parent / "b.png", (100, 300), mode="L")
    assert corrupt_set(manifest, WANTED, out).made == 2
    seeded = [Corruption(one.type, one.severity, seed=1) for one in WANTED]
    assert corrupt_set(manifest, seeded, out).made == 4


def test_processes_change_nothing(manifest, tmp_path):
    ticks: list[int] = []
    one = corrupt_set(manifest, WANTED, tmp_path / "one")
    two = corrupt_set(manifest, WANTED, tmp_path / "two", workers=2, tick=lambda done, _: ticks.append(done))
    assert ticks == [1, 2]
    for left, right in zip(one.manifests, two.manifests, strict=True):
        assert left.read_bytes() == right.read_bytes()
    for path in (tmp_path / "one").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_broken_samples_are_named_and_left_out(manifest, tmp_path):
    (manifest.parent / "a.jpg").write_text("no image")
    report = corrupt_set(manifest, WANTED, tmp_path / "out")
    assert (report.samples, report.made) == (1, 2)
    assert report.failed[0].startswith("../a, 1: ")
    assert [sample.id for sample in read_manifest(report.manifests[0]).samples] == ["b.png"]
    with pytest.raises(DataError, match=r"no sample of .* could be corrupted"):
        corrupt_set(manifest, WANTED, tmp_path / "out", split="test")


def test_nothing_asked_for(manifest, tmp_path):
    with pytest.raises(ConfigError):
        corrupt_set(manifest, (), tmp_path / "out")
    with pytest.raises(ConfigError):
        corrupt_set(manifest, WANTED, tmp_path / "out", workers=0)
