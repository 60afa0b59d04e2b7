"""int8: the mask and the heads stay in f32, the tower does not, and the order of a manifest means nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_models
import openvino
import pytest
from PIL import Image

from rate.artifacts.artifact import Artifact
from rate.artifacts.records import HeadInfo
from rate.data.images.geometry import Geometry
from rate.data.manifest import read_manifest
from rate.errors import ConfigError, DataError, RateError
from rate.export.export import ExportOptions, export_artifact
from rate.export.precision.calibration import CHECKED, Feeds, choose, readable
from rate.export.precision.int8 import quantize, read_calibration
from rate.reading import Reading
from rate.types import MaskValues, Sample

HEADS = (HeadInfo("a", "linear", ("dark", "light")), HeadInfo("b", "linear", ("light", "dark", "none")))


def samples(count: int, label: str = "dark") -> tuple[Sample, ...]:
    return tuple(Sample(f"s{k}", label, f"{k}.png", boxes=((0, 0, 1, 1),)) for k in range(count))


@pytest.mark.parametrize("count", [1, 5, CHECKED, CHECKED + 3, 3 * CHECKED])
@pytest.mark.parametrize("images", [1, 40, 1000])
def test_the_choice_depends_on_ids_alone_and_shares_no_more_than_it_must(count: int, images: int) -> None:
    every = samples(count)
    chosen = choose(every, HEADS, images, "m.csv")
    assert chosen == choose(every[::-1], HEADS, images, "m.csv")
    assert len(chosen.learn) == min(images, count)
    assert len(chosen.check) == min(CHECKED, count)
    assert chosen.shared == max(0, len(chosen.learn) + len(chosen.check) - count)


def test_a_set_sorted_by_class_is_mixed() -> None:
    every = samples(100) + tuple(replace(sample, id="t" + sample.id, label="light") for sample in samples(100))
    learn = choose(every, HEADS, 40, "m.csv").learn
    assert 10 <= sum(sample.label == "light" for sample in learn) <= 30


def test_samples_of_no_class_are_learnt_from_and_not_checked_on() -> None:
    every = samples(3, "bird") + tuple(replace(sample, id="t" + sample.id) for sample in samples(2))
    chosen = choose(every, HEADS, 10, "m.csv")
    assert (len(chosen.learn), len(chosen.check)) == (5, 2)
    with pytest.raises(DataError, match=r"--calibrate m.csv: no label, such as 'bird', is a class of every head"):
        choose(every[:3], HEADS, 10, "m.csv")


def test_the_set_lies_in_roots_and_its_masks_mean_what_is_said(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "m.csv").write_text("image,label,mask\na.png,dark,b.png\n")
    reading = Reading(root=(str(tmp_path / "elsewhere"),), mask_values=1, mask_ignore=3)
    for name in ("a.png", "b.png"):
        Image.new("L", (8, 8), 1).save(tmp_path / "elsewhere" / name)
    options = ExportOptions(precision="int8", calibrate=tmp_path / "m.csv", reading=reading)
    (sample,) = read_calibration(options).samples
    assert sample.image == str(tmp_path / "elsewhere" / "a.png")
    assert sample.values == MaskValues(((1, 1),), ((3, 3),))
    with pytest.raises(ConfigError, match=r"--root, --mask-values, --mask-ignore: say how --calibrate is read"):
        ExportOptions(reading=reading)


def test_feeds_are_what_a_run_feeds(image_set: Callable[..., Path]) -> None:
    manifest = read_manifest(image_set(count=3))
    geometry = Geometry(32, 32, (0.5,) * 3, (0.5,) * 3)
    feeds = Feeds(manifest.samples, geometry)
    first, again = list(feeds), list(feeds)
    assert len(feeds) == len(first) == 3
    for one, other in zip(first, again, strict=True):
        assert {name: value.tobytes() for name, value in one.items()} == {k: v.tobytes() for k, v in other.items()}
    kept = first[0]["grid"].mean(axis=(1, 2))
    assert kept[0] == 1.0, "the image as it is"
    assert kept[1] == 0.0, "nothing"
    assert len(set(kept.round(2))) > 3, "masks of several shares"
    for feed, before in zip(first, [first[-1], *first], strict=False):
        np.testing.assert_array_equal(feed["pixels"][1], before["pixels"][0], "the image before stands in for a fill")
        assert not feed["pixels"][2].any()
        assert set(zip(feed["fill"].tolist(), feed["side"].tolist(), strict=True)) == {(2, 0), (1, 0), (1, 1), (1, 2)}
        assert set(np.unique(feed["region"][0])) == {0, 255}
        assert not feed["scale"][2].any(), "the mean colour"


def test_unreadable_images_are_left_out_and_none_left_is_refused(image_set: Callable[..., Path]) -> None:
    path = image_set(count=3)
    (path.parent / "1.png").write_bytes(b"broken")
    manifest = read_manifest(path)
    geometry = Geometry(32, 32, (0.5,) * 3, (0.5,) * 3)
    assert [sample.id for sample in readable(manifest.samples, geometry)] == ["s0", "s2"]
    assert [sample.id for sample in readable(manifest.samples, geometry, 1)] == ["s0"]
    with pytest.raises(DataError, match=r"no image can be read: .*1\.png"):
        readable(manifest.samples[1:2], geometry)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("deep")
    source = onnx_models.Model(channels=16, deep=True).save(folder / "model.onnx")
    classes = onnx_models.write_classes(folder / "classes.txt")
    return export_artifact(f"onnx:{source}", folder / "artifact", ExportOptions(classes=classes))


def test_what_makes_the_mask_the_first_convolution_and_the_head_stay_in_f32(deep: Artifact, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(4):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{k}.png")
    found = tuple(replace(sample, image=str(tmp_path / sample.image)) for sample in samples(4))
    quantize(deep.graph().path, tmp_path / "int8.xml", Feeds(found, deep.geometry))
    model = openvino.Core().read_model(str(tmp_path / "int8.xml"))
    rounded = [_rounds(node) for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"]
    assert sorted(rounded) == [False, False, False, True], "two products make the mask, one is the head"
    made = [node for node in model.get_ordered_ops() if node.get_friendly_name().startswith("rate_")]
    assert {"Gather", "Multiply", "Subtract", "Add"} <= {node.get_type_name() for node in made}
    assert not any(_rounds(node) for node in made), "images are masked and pasted on each other in f32"
    rounded = [_rounds(node) for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    assert sorted(rounded) == [False, True]


def _rounds(node: openvino.Node) -> bool:
    """Whether an input of ``node`` comes out of a quantization, whatever reshapes it in between."""
    for value in node.input_values():
        source = value.get_node()
        while source.get_type_name() in {"Reshape", "Transpose", "Squeeze", "Slice", "Convert", "Multiply", "Gather"}:
            source = source.input_value(0).get_node()
        if source.get_type_name() == "FakeQuantize":
            return True
    return False


def test_what_nncf_cannot_read_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "pixels.onnx").write_bytes(b"nothing")
    with pytest.raises(RateError, match=r"(?s)NNCF cannot quantize pixels\.onnx: .*; use --precision f32"):
        quantize(tmp_path / "pixels.onnx", tmp_path / "int8.xml", [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "--precision int8 needs --calibrate MANIFEST"),
        ({"calibrate": "m.csv"}, "--calibrate and --split are for --precision int8"),
        ({"split": "test"}, "--calibrate and --split are for --precision int8"),
        ({"precision": "fp8"}, "got .fp8"),
        ({"precision": "int8", "calibrate": "m.csv", "calibration_images": 0}, "calibration-images .* from 1 .* got 0"),
        ({"precision": "int8", "calibrate": "m.csv", "max_flips": 1.5}, "--max-flips must be a share from 0 to 1"),
        ({"precision": "int8", "calibrate": "m.csv", "max_flips": float("nan")}, "--max-flips must be a share"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExportOptions(**options)
