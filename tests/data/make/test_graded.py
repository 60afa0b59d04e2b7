"""Renderings change the object or the scene and nothing else, so that a model's share of each can be computed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rate.data.make.graded import renderings, write_graded
from rate.data.make.synth import CLASSES, Synthetic, picture, write_set
from rate.kernels.swap import shapley_values

PARTS = ("f11", "f10", "f01", "f00")


@pytest.mark.parametrize("shortcut", ["scene", "tag", "none"])
def test_only_what_a_part_names_changes(shortcut: str) -> None:
    settings = Synthetic(size=48, shortcut=shortcut, rho=1.0, largest=0.2)
    own = picture(settings, "test", 3)
    found = list(renderings(settings, "test", 3))
    others = len(CLASSES) - 1
    assert [part for part, *_ in found] == ["f11"] + ["f10"] * others + ["f01"] * others + ["f00"] * others
    np.testing.assert_array_equal(found[0][3], own.pixels)
    around = [np.roll(own.mask, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    core = np.logical_and.reduce(around)  # pixels that the object covers wholly
    for part, label, named, pixels in found[1:]:
        same_object, same_scene = label == found[0][1], named == found[0][2]
        assert (part[1] == "1", part[2] == "1") == (same_object, same_scene)
        if same_object:
            np.testing.assert_allclose(pixels[core], own.pixels[core], atol=1e-12)
        if same_scene:
            changed = (pixels != own.pixels).any(axis=2)
            assert 0 < changed.mean() < 0.6, "the scene stays where neither object is"
        if part == "f00" and shortcut != "none":
            assert label != named
    if shortcut == "tag":
        corners = {named: pixels[:6, :6].tobytes() for _, _, named, pixels in found}
        assert all(pixels[:6, :6].tobytes() == corners[named] for _, _, named, pixels in found), "nothing hides the tag"


def test_a_score_made_of_object_and_scene_has_its_share() -> None:
    settings = Synthetic(size=32, shortcut="scene", rho=1.0)
    for number in range(4):
        score: dict[str, list[float]] = {part: [] for part in PARTS}
        found = list(renderings(settings, "test", number))
        for part, label, named, _ in found:
            score[part].append(0.7 * (label == found[0][1]) + 0.3 * (named == found[0][2]))
        means = {part: np.array([[np.mean(values)]]) for part, values in score.items()}
        share = shapley_values(means["f11"][0], means["f10"], means["f01"], means["f00"]).share
        np.testing.assert_allclose(share, 0.7)


def test_the_files_are_listed_by_picture_and_part(tmp_path: Path) -> None:
    settings = Synthetic(train=0, test=3, size=32)
    write_set(settings, tmp_path / "set")
    listed = write_graded(settings, tmp_path / "set")
    with listed.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * (1 + 3 * (len(CLASSES) - 1))
    assert {row["id"] for row in rows} == {"test/000000", "test/000001", "test/000002"}
    for row in rows:
        pixels = np.asarray(Image.open(tmp_path / "set" / row["image"]))
        if row["part"] == "f11":
            original = tmp_path / "set" / "images" / f"{row['id']}.png"
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(original)))
