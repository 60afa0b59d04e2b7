"""The self-test of backends: passes what is right, refuses what is not, and knows each precision's measure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace

from rate.artifacts.parity import ERROR, judge, measure
from rate.artifacts.parity_sample import PICTURES, ParitySample, load_sample, make_sample, perturbed
from rate.backends.fake import FakeSpec
from rate.backends.onnxruntime import OrtSpec
from rate.data.images.geometry import Geometry
from rate.errors import ArtifactError, ParityError
from rate.kernels import reference
from rate.kernels.separable import rise

SIZE = 20
Model = Callable[[np.ndarray], np.ndarray]


def geometry(size: int) -> Geometry:
    return Geometry(size, size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def linear(images: np.ndarray) -> np.ndarray:
    """Three logits: means of fixed parts of the image, some tenths apart."""
    parts = np.array([images[:, 0, :10].mean((1, 2)), images[:, 1, 10:].mean((1, 2)), images[:, 2].mean((1, 2))])
    return (parts.T * 4 + [0.5, 0.0, -0.5]).astype(np.float32)


def sample(model: Model = linear) -> ParitySample:
    return make_sample(geometry(SIZE), lambda images: {"a": model(images)})


def fake(model: Model, precision: str = "f32") -> FakeSpec:
    return FakeSpec(lambda images: {"a": model(images)}, precision=precision)


def test_the_sample_is_fixed_and_holds_every_kind_of_row() -> None:
    one, two = sample(), sample()
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.logits["a"], two.logits["a"])
    full = perturbed(one.perturbation, one.images, one.region, one.rows)
    np.testing.assert_allclose(full[0], one.images[0], atol=1e-6)
    shown = [full[np.flatnonzero(one.rows.slot == k)[0]] for k in range(PICTURES)]
    np.testing.assert_allclose(shown, one.images[:-1], atol=1e-6)
    hidden = np.flatnonzero((one.rows.side == 0) & ~one.rows.grid.any((1, 2)))
    np.testing.assert_array_equal(full[hidden], one.images[one.rows.fill[hidden]])
    assert len(hidden) == 1
    assert all(row.any() for row in full)
    assert not one.images[-1].any()
    kinds = set(zip(one.rows.side.tolist(), (one.rows.fill == len(one.images) - 1).tolist(), strict=True))
    assert kinds == {(0, True), (0, False), (1, False), (2, False)}
    assert (one.rows.fill != one.rows.slot).all()
    assert len(one.rows) == 32
    assert len({image.tobytes() for image in full}) >= 31  # one hides everything behind another picture
    assert ((one.region > 0) & (one.region < 255)).any()
    assert 0.2 < np.abs(one.images[:-1]).mean() < 2.5
    assert (one.region.mean((1, 2)) > 0.05 * 255)[:-1].all()
    assert (one.region.mean((1, 2)) < 0.95 * 255).all()


def test_images_of_the_reference_are_those_of_the_slow_oracle() -> None:
    one = sample()
    slow = reference.perturb(one.images, one.region, one.rows, one.perturbation)
    np.testing.assert_allclose(perturbed(one.perturbation, one.images, one.region, one.rows), slow, atol=1e-6)


def test_the_smallest_size_has_a_sample() -> None:
    assert make_sample(geometry(2), lambda images: {"a": images.mean((2, 3))}).perturbation.side == 2


@pytest.mark.parametrize("precision", ["f32", "bf16", "fp16", "int8"])
def test_the_model_itself_passes_in_every_precision(precision) -> None:
    parity = judge(sample(), fake(linear, precision))
    assert parity.max_abs["a"] < 1e-6
    assert parity.error["a"] < 1e-4
    assert (parity.predictions, parity.verdicts) == ({"a": 0}, {"a": 0})
    assert parity.runtime == "fake 1"


def small(images: np.ndarray) -> np.ndarray:
    """Logits below 1."""
    return linear(images) / np.float32(16)


def test_f32_is_judged_by_size() -> None:
    base = sample(small)
    assert np.abs(base.logits["a"]).max() < 1
    assert judge(base, fake(lambda x: small(x) + 9e-5)).max_abs["a"] == pytest.approx(9e-5, rel=0.02)
    with pytest.raises(ParityError, match=r"logits_a differ by up to 1.1\de-04, allowed is 0.0001"):
        judge(base, fake(lambda x: small(x) + 1.1e-4))


def scaled(images: np.ndarray) -> np.ndarray:
    """The logits of a trained CLIP are cosines times 100."""
    return linear(images) * np.float32(20)


def test_f32_is_judged_by_the_scale_of_the_logits() -> None:
    base = sample(scaled)
    allowed = 1e-4 * float(np.abs(base.logits["a"]).max())
    assert allowed > 5e-4
    assert judge(base, fake(lambda x: scaled(x) + np.float32(0.9 * allowed))).allowed["a"] == pytest.approx(allowed)
    with pytest.raises(ParityError, match="logits_a differ by up to"):
        judge(base, fake(lambda x: scaled(x) + np.float32(1.2 * allowed)))


LOWER = pytest.mark.parametrize("precision", ["bf16", "fp16", "int8"])


def noisy(model: Model, noise: float, seed: int = 0) -> Model:
    def perturb(images: np.ndarray) -> np.ndarray:
        logits = model(images)
        return (logits + np.random.default_rng(seed).normal(0, noise, logits.shape)).astype(np.float32)

    return perturb


def zero_shot(spread: float) -> Model:
    """Logits of 20 +- 3 over 30 classes, which perturbations of a picture change by ``spread``."""
    rng = np.random.default_rng(1)
    means, weights = rng.normal(20, 3, 30), rng.normal(size=(3 * SIZE * SIZE, 30))
    base = sample(lambda images: (images.reshape(len(images), -1) @ weights).astype(np.float32))
    values = base.logits["a"].astype(np.float64)
    own = [values[base.rows.slot == k] for k in range(PICTURES)]
    unit = np.sqrt(np.mean([(one - one.mean(0)) ** 2 for one in own]))

    def logits(images: np.ndarray) -> np.ndarray:
        return (means + images.reshape(len(images), -1) @ weights * (spread / unit)).astype(np.float32)

    return logits


@LOWER
@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
def test_noise_that_a_cosine_lets_pass_is_refused(precision: str, spread: float) -> None:
    """Noise of 0.85 on logits of 20 +- 3 has a cosine above 0.999 with them, and drowns what masks change."""
    model = zero_shot(spread)
    base = sample(model)
    noise = noisy(model, 0.85)(perturbed(base.perturbation, base.images, base.region, base.rows))
    exact = base.logits["a"]
    cosines = (noise * exact).sum(1) / np.linalg.norm(noise, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.mean() > 0.999
    with pytest.raises(
        ParityError, match=rf"{precision} does not.*the scores of a have an error of .* allowed is 0.25"
    ):
        judge(base, fake(noisy(model, 0.85), precision))


@LOWER
@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.6])
def test_the_error_is_that_of_the_scores_over_their_spread(precision: str, share: float) -> None:
    model = zero_shot(2.0)
    found = measure(sample(model), fake(noisy(model, 2.0 * share), precision)).error["a"]
    assert found == pytest.approx(share, rel=0.15)
    assert (found <= ERROR) == (share <= 0.2)


def test_what_all_classes_share_hides_no_error() -> None:
    """A logit that moves with the whole picture has a spread that no prediction and no verdict by swaps has."""
    quiet = zero_shot(0.5)

    def bright(images: np.ndarray) -> np.ndarray:
        return np.asarray(quiet(images) + 200 * images.mean((1, 2, 3))[:, None], np.float32)

    with pytest.raises(ParityError, match="the scores of a have an error"):
        judge(sample(bright), fake(noisy(bright, 0.85), "bf16"))


def by_object(images: np.ndarray) -> np.ndarray:
    """Two classes told apart by the mean of one channel alone, and twenty that nothing changes."""
    lead = 4 * images[:, 0].mean((1, 2))
    return np.stack([lead, -lead, *[np.full(len(images), -9.0)] * 20], axis=1).astype(np.float32)


def test_a_clear_prediction_or_verdict_that_differs_is_refused_whatever_the_error_is() -> None:
    base = sample(by_object)
    leads = base.logits["a"][:, 0]
    rows = np.abs(leads).argsort()

    def one_row_turned(images: np.ndarray) -> np.ndarray:
        logits = by_object(images)
        turned = rows[-1] if len(logits) > rows[-1] else 0
        logits[turned, :2] = logits[turned, 1::-1]
        return logits

    found = measure(base, fake(one_row_turned, "bf16"))
    assert found.predictions["a"] >= 1
    with pytest.raises(ParityError, match=r"clear predictions of a differ"):
        judge(base, fake(one_row_turned, "bf16"))

    def sides_exchanged(images: np.ndarray) -> np.ndarray:
        logits = by_object(images)
        if len(logits) >= len(base.rows):
            inside, outside = (np.flatnonzero(base.rows.side == side) for side in (1, 2))
            logits[np.concatenate([inside, outside])] = logits[np.concatenate([outside, inside])]
        return logits

    assert measure(base, fake(sides_exchanged, "bf16")).verdicts["a"] >= 1


def test_a_head_of_one_class_has_no_predictions_to_differ() -> None:
    def one(images: np.ndarray) -> np.ndarray:
        return linear(images)[:, :1]

    found = measure(sample(one), fake(noisy(one, 10.0), "bf16"))
    assert found.error["a"] > 1
    assert found.predictions == {"a": 0}


def test_a_head_that_answers_the_same_to_everything_may_only_be_rounded() -> None:
    def constant(images: np.ndarray) -> np.ndarray:
        return np.repeat([[100.0, 99.5, 90.0]], len(images), axis=0).astype(np.float32)

    assert judge(sample(constant), fake(constant, "bf16")).error == {"a": 0.0}
    with pytest.raises(ParityError):
        judge(sample(constant), fake(lambda x: constant(x) + np.float32([0.6, 0, 0]), "bf16"))


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
    for count in (32, 1, 36):

        def wrong_there(images: np.ndarray, count: int = count) -> np.ndarray:
            return linear(images) + np.float32(0.01 if len(images) == count else 0)

        with pytest.raises(ParityError):
            judge(sample(), fake(wrong_there))


def test_a_backend_with_classes_missing_is_found() -> None:
    with pytest.raises(ParityError):
        judge(sample(), fake(lambda x: linear(x)[:, :2]))


def test_an_artifact_s_own_sample_serves_any_backend(shared_artifact) -> None:
    parity = judge(load_sample(shared_artifact), OrtSpec(shared_artifact.graph(), threads=1))
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
