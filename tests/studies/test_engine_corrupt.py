"""`--corrupt`: the verdicts of the written set, whatever the order, the threads and the workers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import function_models
import numpy as np
import pytest
from function_models import evaluate
from msgspec import structs

from rate.backends.fake import FakeSpec
from rate.config import Measurement
from rate.data.images.corrupt import CROP, Corruption, corrupted, parse_corruption
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import load_image, prepare
from rate.data.make.corrupt_set import corrupt_set
from rate.data.manifest import read_manifest
from rate.engine.job import Job
from rate.engine.verdicts.prediction import Head
from rate.errors import ConfigError, RunError
from rate.report.compare.agreement import agreement
from rate.report.heads import load_head, load_heads, require_comparable
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from rate.types import Float32

AT_THE_CROP = structs.replace(CROP, resize=CROP.size)
"""Leaves a picture of 224 x 224 pixels as it is."""


UNLIKE = ("evidence_sketch", "content")


def light(x: Float32) -> dict[str, Float32]:
    """More light in the upper left quarter means "light", in steps that noise can cross."""
    corner = x[:, :, :112, :112].mean(axis=(1, 2, 3)) - 0.45
    return {"a": np.stack([-corner, corner], axis=1).astype(np.float32)}


def job(manifest: Path, geometry: Geometry = CROP, corrupt: str | None = None) -> Job:
    return function_models.job(manifest, heads=(Head("a", ("dark", "light")),), geometry=geometry, corrupt=corrupt)


def rows_of(folder: Path) -> dict[str, dict]:
    """By id. Left out are the sketch of a map, f16 of values that may differ in the last bit, and the files' digest."""
    rows = read_rows(folder, read_run(folder)).to_pylist()
    return {row["id"]: {name: value for name, value in row.items() if name not in UNLIKE} for row in rows}


def same(one: dict[str, dict], two: dict[str, dict]) -> bool:
    return one.keys() == two.keys() and all(
        two[key][name] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value)
        for key, row in one.items()
        for name, value in row.items()
    )


@pytest.mark.parametrize("corruption", ["fog:3", "gaussian_noise:5", "pixelate:4"])
def test_the_verdicts_are_those_of_the_written_set(image_set, tmp_path: Path, corruption: str) -> None:
    """Where the model's crop is ImageNet-C's. The written pictures are that crop already."""
    manifest = image_set(4, 300)
    (written,) = corrupt_set(manifest, parse_corruption(corruption), tmp_path / "written").manifests
    evaluate(job(written, AT_THE_CROP), FakeSpec(light), tmp_path / "one")
    evaluate(job(manifest, CROP, corruption), FakeSpec(light), tmp_path / "two")
    evaluate(job(manifest, CROP), FakeSpec(light), tmp_path / "clean")
    assert same(rows_of(tmp_path / "one"), rows_of(tmp_path / "two"))
    assert not same(rows_of(tmp_path / "clean"), rows_of(tmp_path / "two"))


def test_the_region_stays_and_the_crop_is_what_is_corrupted(image_set) -> None:
    manifest = image_set(3, 120)
    geometry = Geometry(96, 110, (0.5,) * 3, (0.25,) * 3)
    one = job(manifest, geometry, "shot_noise:2")
    for sample in read_manifest(manifest).samples:
        clean, found = prepare(sample, geometry), one.decode(sample)
        crop = geometry.image_to_crop(load_image(sample.image))
        expected = geometry.crop_to_picture(corrupted(crop, Corruption("shot_noise", 2), sample.id)).pixels
        assert np.array_equal(found.picture.pixels, expected)
        assert np.array_equal(found.region, clean.region)
        assert not np.array_equal(found.picture.pixels, clean.picture.pixels)


def test_order_threads_and_workers_change_nothing(image_set, tmp_path: Path) -> None:
    manifest = image_set(6)
    measurement = Measurement(masks=40, grid=4, corrupt="impulse_noise:3")
    one = replace(function_models.job(manifest, threads=1), measurement=measurement)
    evaluate(one, FakeSpec(function_models.light), tmp_path / "one")
    header, *lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([header, *lines[::-1]]) + "\n")
    turned = replace(function_models.job(manifest, threads=3), measurement=measurement)
    assert turned.key("fake", "f32") == one.key("fake", "f32")
    evaluate(turned, FakeSpec(function_models.light), tmp_path / "turned")
    two = replace(turned, execution=replace(turned.execution, workers=2))
    evaluate(two, FakeSpec(function_models.light), tmp_path / "two")
    expected = {(row["id"], row["head"]): row["rma_positive"] for row in rows(tmp_path / "one")}
    for name in ("turned", "two"):
        found = {(row["id"], row["head"]): row["rma_positive"] for row in rows(tmp_path / name)}
        assert found == pytest.approx(expected, abs=1e-6)


def rows(folder: Path) -> list[dict]:
    found: list[dict] = read_rows(folder, read_run(folder)).to_pylist()
    return found


def test_a_run_says_what_its_images_were_under_and_is_held_against_no_other(image_set, tmp_path: Path) -> None:
    manifest = image_set(3, 64)
    geometry = structs.replace(CROP, size=64, resize=64)
    model = FakeSpec(lambda x: {"a": np.stack([x.mean(axis=(1, 2, 3)), -x.mean(axis=(1, 2, 3))], 1)})
    for name, corrupt in (("clean", None), ("fog", "fog:1")):
        evaluate(job(manifest, geometry, corrupt), model, tmp_path / name)
    clean, fog = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("clean", "fog"))
    assert "corrupt" not in clean["measurement"]
    assert "corrupt" not in clean["rule"]
    assert (fog["measurement"]["corrupt"], fog["measurement"]["corrupt_seed"]) == ("fog:1", 0)
    assert fog["rule"]["corrupt"] == "fog:1"
    assert {"imagecorruptions-imaug", "numba", "scikit-image"} <= fog["versions"].keys() - clean["versions"].keys()
    with pytest.raises(RunError, match=r"measurement\.corrupt: 'fog:1' there, 'fog:2' now"):
        evaluate(job(manifest, geometry, "fog:2"), model, tmp_path / "fog")
    with pytest.raises(RunError, match=r"measurement\.corrupt"):
        require_comparable([*load_heads(str(tmp_path / "clean")), *load_heads(str(tmp_path / "fog"))])
    with pytest.raises(RunError, match="differ in corrupt"):
        agreement(load_head(str(tmp_path / "clean")), load_head(str(tmp_path / "fog")))


@pytest.mark.parametrize(("corrupt", "text"), [("fog", "5 corruptions"), ("mist:3", "no corruption"), ("", "no corr")])
def test_one_corruption_at_one_severity(image_set, corrupt: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        assert job(image_set(1), corrupt=corrupt).decode
