"""The self-test of backends: passes what is right, refuses what is not, and knows each precision's measure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace

from rate.artifacts.parity import ParitySample, check_parity, judge, load_sample, make_sample, perturbed
from rate.backends.fake import FakeSpec
from rate.backends.onnxruntime import OrtSpec
from rate.errors import ArtifactError, ParityError
from rate.kernels import reference
from rate.kernels.separable import rise

SIZE = 20
Model = Callable[[np.ndarray], np.ndarray]


def linear(images: np.ndarray) -> np.ndarray:
    """Three logits: means of fixed parts of the image, some tenths apart."""
    parts = np.array([images[:, 0, :10].mean((1, 2)), images[:, 1, 10:].mean((1, 2)), images[:, 2].mean((1, 2))])
    return (parts.T * 4 + [0.5, 0.0, -0.5]).astype(np.float32)


def sample(model: Model = linear) -> ParitySample:
    return make_sample(SIZE, lambda images: {"a": model(images)})


def fake(model: Model, precision: str = "f32") -> FakeSpec:
    return FakeSpec(lambda images: {"a": model(images)}, precision=precision)


def test_the_sample_is_fixed_and_holds_every_kind_of_row() -> None:
    one, two = sample(), sample()
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.logits["a"], two.logits["a"])
    full = perturbed(one.perturbation, one.images, one.region, one.rows)
    np.testing.assert_allclose(full[0], one.images[0], atol=1e-6)
    np.testing.assert_array_equal(full[1], 0.0)
    assert not one.images[-1].any()
    kinds = set(zip(one.rows.side.tolist(), (one.rows.fill == len(one.images) - 1).tolist(), strict=True))
    assert kinds == {(0, True), (0, False), (1, False), (2, False)}
    assert (one.rows.fill != one.rows.slot).all()
    assert len({image.tobytes() for image in full}) == len(one.rows) == 16
    assert ((one.region > 0) & (one.region < 1)).any()
    assert 0.5 < np.abs(one.images[:-1]).mean() < 2.5
    assert np.abs(np.diff(one.images, axis=-1)).max() < 2.0  # smooth


def test_images_of_the_reference_are_those_of_the_slow_oracle() -> None:
    one = sample()
    slow = reference.perturb(one.images, one.region, one.rows, one.perturbation)
    np.testing.assert_allclose(perturbed(one.perturbation, one.images, one.region, one.rows), slow, atol=1e-6)


def test_the_smallest_size_has_a_sample() -> None:
    assert make_sample(2, lambda images: {"a": images.mean((2, 3))}).perturbation.side == 2


@pytest.mark.parametrize("precision", ["f32", "bf16", "fp16", "int8"])
def test_the_model_itself_passes_in_every_precision(precision) -> None:
    parity = judge(sample(), fake(linear, precision))
    assert parity.max_abs["a"] < 1e-6
    assert parity.cosine["a"] == pytest.approx(1.0)
    assert parity.top1 == {"a": True}
    assert parity.runtime == "fake 1"


def test_f32_is_judged_by_size() -> None:
    assert judge(sample(), fake(lambda x: linear(x) + 9e-5)).max_abs["a"] == pytest.approx(9e-5, rel=0.02)
    with pytest.raises(ParityError, match=r"logits_a differ by up to 1.1\de-04, allowed is 0.0001"):
        judge(sample(), fake(lambda x: linear(x) + 1.1e-4))


def test_lower_precision_is_judged_by_direction_and_first_class() -> None:
    off = [0.01, -0.01, 0.01]
    assert judge(sample(), fake(lambda x: (linear(x) + off).astype(np.float32), "bf16")).max_abs["a"] > 5e-3
    with pytest.raises(ParityError, match=r"cosine of 0.9\d+ to the f32 ones"):
        judge(sample(), fake(lambda x: linear(x) * np.float32([1, 1.3, 1]), "bf16"))


@pytest.mark.parametrize(("margin", "passes"), [(0.5, True), (1.0, False)])
def test_the_first_class_may_change_only_within_the_measured_error(margin, passes) -> None:
    def model(images: np.ndarray) -> np.ndarray:
        return np.repeat([[100.0, 100.0 - margin, 90.0]], len(images), axis=0).astype(np.float32)

    base = make_sample(SIZE, lambda images: {"a": model(images)})
    moved = fake(lambda x: model(x) + np.float32([-0.6, 0.6, 0]), "bf16")
    if passes:
        assert judge(base, moved).max_abs["a"] == pytest.approx(0.6, rel=1e-3)
    else:
        with pytest.raises(ParityError, match="logits_a put another class first"):
            judge(base, moved)


def test_a_head_that_answers_nothing_with_zeros_has_a_direction_there_too() -> None:
    def zero_on_black(images: np.ndarray) -> np.ndarray:
        return linear(images) - np.float32([0.5, 0.0, -0.5])

    base = make_sample(SIZE, lambda images: {"a": zero_on_black(images)})
    assert not base.logits["a"][1].any()
    assert judge(base, fake(zero_on_black, "bf16")).cosine["a"] == pytest.approx(1.0)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_never_pass(value, precision) -> None:
    def broken(images: np.ndarray) -> np.ndarray:
        logits = linear(images)
        logits[-1, 0] = value
        return logits

    with pytest.raises(ParityError):
        judge(sample(), fake(broken, precision))
    with pytest.raises(ParityError):
        judge(sample(broken), fake(broken, precision))  # not even when the source gives them too


def test_a_backend_right_only_at_one_batch_size_is_found() -> None:
    for count in (16, 1, 20):

        def wrong_there(images: np.ndarray, count: int = count) -> np.ndarray:
            return linear(images) + np.float32(0.01 if len(images) == count else 0)

        with pytest.raises(ParityError):
            judge(sample(), fake(wrong_there))


def test_a_backend_with_classes_missing_is_found() -> None:
    with pytest.raises(ParityError):
        judge(sample(), fake(lambda x: linear(x)[:, :2]))


def test_an_artifact_s_own_sample_serves_any_backend(shared_artifact) -> None:
    parity = check_parity(shared_artifact, OrtSpec(shared_artifact.graph(), threads=1))
    assert parity.max_abs["native"] <= 1e-4
    assert shared_artifact.parity["pixels"].max_abs["native"] <= 1e-4
    stored = load_sample(shared_artifact)
    np.testing.assert_array_equal(stored.perturbation.table, rise(24, 7).table)
    assert stored.logits["native"].dtype == np.float32


def test_a_malformed_sample_is_named(shared_artifact, artifact_copy) -> None:
    copied = replace(shared_artifact, path=artifact_copy)
    np.savez(artifact_copy / "parity.npz", images=np.zeros(3))
    with pytest.raises(ArtifactError, match=r"parity.npz is malformed"):
        load_sample(copied)
    (artifact_copy / "parity.npz").write_bytes(b"PK")
    with pytest.raises(ArtifactError, match=r"parity.npz is malformed"):
        load_sample(copied)
