"""The synthetic set is what it says: exact masks, chance everywhere but in the shape and the shortcut."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rate.data.make.synth import CLASSES, Synthetic, picture, pictures, write_set
from rate.data.manifest import read_manifest
from rate.errors import ConfigError, UsageError

SMALL = Synthetic(train=24, test=16, size=48)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_settings_give_the_same_files_whatever_the_threads(tmp_path: Path) -> None:
    write_set(SMALL, tmp_path / "one", threads=1)
    write_set(SMALL, tmp_path / "two", threads=4)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    write_set(dataclasses.replace(SMALL, seed=1), tmp_path / "three")
    assert files(tmp_path / "one") != files(tmp_path / "three")


def test_the_manifest_reads_and_every_mask_fits_its_image(tmp_path: Path) -> None:
    manifest = write_set(SMALL, tmp_path / "set")
    samples = read_manifest(manifest, split="test-broken").samples
    assert len(samples) == 16
    assert {sample.label for sample in samples} == set(CLASSES)
    for sample in samples:
        mask = np.asarray(Image.open(sample.mask))
        assert mask.shape == np.asarray(Image.open(sample.image)).shape[:2]
        assert 0.015 < (mask > 0).mean() < 0.45


@pytest.mark.parametrize("shortcut", ["tag", "scene"])
def test_the_shortcut_agrees_in_the_asked_share_and_says_nothing_when_broken(shortcut: str) -> None:
    settings = Synthetic(size=32, shortcut=shortcut, rho=0.8)
    agree = [p.label == p.shortcut for p in pictures(settings, "train", 600)]
    assert np.mean(agree) == pytest.approx(0.8, abs=0.05)
    broken = [p.label == p.shortcut for p in pictures(settings, "test-broken", 600)]
    assert np.mean(broken) == pytest.approx(1 / len(CLASSES), abs=0.05)


def test_the_tag_decides_the_corner_and_the_object_keeps_clear_of_it() -> None:
    by_class: dict[str, set[bytes]] = {}
    for one in pictures(Synthetic(size=64, shortcut="tag", rho=0.5), "train", 80):
        corner = one.pixels[:9, :9]
        by_class.setdefault(one.shortcut, set()).add(corner.tobytes())
        assert not one.mask[:9, :9].any()
    assert len(by_class) == len(CLASSES)
    assert all(len(corners) == 1 for corners in by_class.values())


def test_areas_span_the_range_and_say_nothing_about_the_class() -> None:
    settings = Synthetic(size=64, shortcut="none")
    areas = np.array([p.mask.mean() for p in pictures(settings, "train", 400)])
    labels = np.array([p.label for p in pictures(settings, "train", 400)])
    assert areas.min() < 0.04
    assert areas.max() > 0.3
    assert {p.shortcut for p in pictures(settings, "train", 8)} == {""}
    medians = [np.median(areas[labels == name]) for name in CLASSES]
    assert max(medians) < 2 * min(medians)


def test_objects_stand_out_from_what_is_behind_them() -> None:
    for one in pictures(Synthetic(size=64), "test", 40):
        inside, outside = one.pixels[one.mask], one.pixels[~one.mask]
        assert np.abs(inside[:, None].mean(axis=(0, 1)) - outside.mean(axis=0)).max() > 0.02


def test_classes_are_balanced_and_captions_name_them(tmp_path: Path) -> None:
    manifest = write_set(SMALL, tmp_path / "set")
    rows = list(csv.DictReader(manifest.read_text().splitlines()))
    assert Counter(row["label"] for row in rows if row["split"] == "train") == dict.fromkeys(CLASSES, 3)
    assert all(row["caption"] == f"a photo of a {row['label']}" for row in rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shortcut": "watermark"}, "shortcut must be one of none, scene, tag"),
        ({"rho": 1.5}, "must lie in"),
        ({"size": 8}, "between 32 and 2048"),
        ({"train": 0, "test": 0}, "numbers of images"),
        ({"smallest": 0.5, "largest": 0.1}, "smallest <= largest"),
    ],
)
def test_impossible_settings_say_what_was_expected(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Synthetic(**settings)


def test_a_folder_with_content_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(UsageError, match="choose a new one"):
        write_set(SMALL, tmp_path)
    assert files(tmp_path) == {"x": b"mine"}


def test_a_picture_is_a_function_of_its_number() -> None:
    np.testing.assert_array_equal(picture(SMALL, "train", 5).pixels, list(pictures(SMALL, "train", 6))[5].pixels)
