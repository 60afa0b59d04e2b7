"""What a bench would measure: settings, candidates, images."""

from __future__ import annotations

from pathlib import Path

import pytest

from rate.artifacts.artifact import load_artifact
from rate.bench.plan import manifest_images, open_candidates, parity_images
from rate.bench.settings import BenchSettings
from rate.engine.choose_backend import offers, preferences
from rate.errors import ConfigError, DataError, ParityError
from rate.execution import Execution


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds must be a whole number from 1 to 1000, got 0"),
        ({"seconds": float("nan")}, "seconds must lie above 0"),
        ({"batch": (8, -1)}, "batch must be a whole number from 0 to 4096, got -1"),
        ({"batch": ()}, "batch must name at least one value"),
        ({"masks": (1,)}, "masks must be"),
        ({"backend": ("cuda9",)}, "backend must be one of"),
        ({"precision": ("f99",)}, "precision must be one of"),
        ({"split": "test"}, "--split test needs the manifest"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BenchSettings(**changes)


def test_a_gpu_is_measured_up_to_512_rows_and_a_cpu_as_usual() -> None:
    assert BenchSettings().batches_on("tensorrt") == (64, 128, 256, 512)
    assert BenchSettings().batches_on("openvino") == (32,)
    assert BenchSettings(batch=(8, 64)).batches_on("onnxruntime-cuda") == (8, 64)
    assert BenchSettings(batch=(16, 0)).batches_on("torch-cuda") == (16, 64, 128, 256, 512)


def test_the_candidates_are_those_of_auto_in_its_order(trained) -> None:
    artifact = load_artifact(trained.artifact)
    order = preferences(Execution(), offers(artifact))
    with open_candidates(artifact, BenchSettings(threads=1)) as (passed, refused):
        not_passed = {(one.backend, one.precision) for one in refused}
        assert [(one.name, one.precision) for one in passed] == [pair for pair in order if pair not in not_passed]


def test_a_precision_that_a_backend_does_not_have_is_shown_as_refused(trained) -> None:
    settings = BenchSettings(backend=("onnxruntime",), precision=("f32", "bf16"), threads=1)
    with open_candidates(load_artifact(trained.artifact), settings) as ([passed], [refused]):
        assert (passed.name, passed.precision) == ("onnxruntime", "f32")
    assert refused.reason == "--backend onnxruntime does not compute in --precision bf16"


def test_without_any_candidate_every_reason_is_told(disproved: Path) -> None:
    with (
        pytest.raises(ParityError, match=r"openvino f32: .*reproduce.*onnxruntime f32: .*; choose another"),
        open_candidates(load_artifact(disproved), BenchSettings(precision=("f32",), threads=1)),
    ):
        pass


def test_the_parity_sample_needs_no_data_and_has_a_label_for_every_head(trained) -> None:
    found = parity_images(load_artifact(trained.artifact))
    assert all(sample.label in head.classes for sample in found.job.samples for head in found.job.heads)
    prepared = found.decode(found.job.samples[1])
    assert prepared.picture.pixels.shape == (3, *prepared.region.shape)
    assert 0.2 < prepared.region.mean() < 0.3


def test_images_that_cannot_be_used_are_passed_over_and_told(trained, image_set) -> None:
    manifest = image_set(4)
    (manifest.parent / "1.png").write_bytes(b"")
    said: list[str] = []
    loaded = load_artifact(trained.artifact)
    found = manifest_images(loaded, manifest, None, said.append)
    assert [sample.id for sample in found.job.samples] == ["s0", "s2", "s3"]
    assert len(said) == 1
    assert said[0].startswith("1 of 4 images are passed over; s1: ")
    for path in manifest.parent.glob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"none of the first 4 images .* can be used; s0: "):
        manifest_images(loaded, manifest, None)
