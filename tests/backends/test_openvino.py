"""OpenVINO behind the boundary: the same numbers as ONNX Runtime, overlapping batches, precision as asked."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import perturbing
import pytest

from rate.artifacts.artifact import load_artifact
from rate.artifacts.parity import judge
from rate.artifacts.parity_sample import load_sample
from rate.backends.batches import clean_rows
from rate.backends.onnxruntime import OrtSpec
from rate.backends.openvino import OpenVinoSpec, cpu_has_bf16
from rate.errors import BackendError
from rate.kernels.occlusion import Occlusion
from rate.kernels.rise import Rise
from rate.kernels.separable import rise


@pytest.fixture(scope="module")
def artifact(trained):
    return load_artifact(trained.artifact)


@pytest.mark.parametrize("kind", ["rise", "occlusion"])
def test_logits_equal_those_of_onnxruntime_with_batches_in_flight(artifact, kind: str) -> None:
    size = artifact.geometry.size
    method = Rise(size, 7, (0.5,), "fixed", 64, 0) if kind == "rise" else Occlusion(size, size // 4, size // 8)
    images = perturbing.pictures(3, size)
    found = []
    for spec in (OrtSpec(artifact.graph(), 1), OpenVinoSpec(artifact.graph(), "f32", 2)):
        with spec.open(method.perturbation, 3) as backend:
            perturbing.put(backend, images)
            waiting, logits = [], []
            for seed in range(5):
                waiting.append(backend.submit(perturbing.draw(method.perturbation, 3, 8, seed)))
                if len(waiting) == backend.depth:
                    logits.append(waiting.pop(0).wait()["lp"])
            logits += [pending.wait()["lp"] for pending in waiting]
        found.append(np.concatenate(logits))
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)


def test_f32_passes_the_self_test(artifact) -> None:
    parity = judge(load_sample(artifact), OpenVinoSpec(artifact.graph(), "f32"))
    assert max(parity.max_abs.values()) < 1e-4


def test_bf16_is_bf16_or_refused(artifact) -> None:
    spec = OpenVinoSpec(artifact.graph(), "bf16")
    method = Rise(artifact.geometry.size, 7, (0.5,), "fixed", 8, 0)
    if not cpu_has_bf16():
        with pytest.raises(BackendError, match="does not compute in the requested bf16"):
            spec.open(method.perturbation, 1).__enter__()
        return
    images, rows = perturbing.pictures(2, method.size), perturbing.draw(method.perturbation, 2, 8)
    logits = [
        perturbing.run(OpenVinoSpec(artifact.graph(), precision), method.perturbation, images, rows)["lp"]
        for precision in ("f32", "bf16")
    ]
    difference = np.abs(logits[0] - logits[1]).max()
    assert 0 < difference < 0.1 * np.abs(logits[0]).max()


def test_what_does_not_fit_is_refused(artifact) -> None:
    spec, masks = OpenVinoSpec(artifact.graph(), "f32"), rise(artifact.geometry.size, 4)
    with spec.open(masks, 1) as backend:
        good = clean_rows(masks, np.zeros(2, np.int64))
        for name, value in (("slot", 1), ("fill", 1), ("side", 3), ("offset", 99)):
            with pytest.raises(BackendError, match=f"^{name} must lie from 0 to"):
                backend.submit(replace(good, **{name: np.full_like(getattr(good, name), value)}))
        with pytest.raises(BackendError, match="at least one resident image"):
            backend.bind(masks, 0)
        with pytest.raises(BackendError, match="the masks are made for 9"):
            backend.bind(rise(9, 4), 1)


def test_a_backend_that_is_left_is_gone_with_its_model(artifact) -> None:
    """Callbacks of the runtime are references that no collector sees."""
    masks = rise(artifact.geometry.size, 4)
    with OpenVinoSpec(artifact.graph(), "f32").open(masks, 1) as backend:
        backend.submit(clean_rows(masks, np.zeros(2, np.int64))).wait()
        left = weakref.ref(backend)
    del backend
    assert left() is None


def test_a_graph_that_is_none_is_refused(artifact, tmp_path) -> None:
    (tmp_path / "pixels.onnx").write_bytes(b"nothing")
    spec = OpenVinoSpec(replace(artifact.graph(), path=tmp_path / "pixels.onnx"), "f32")
    with pytest.raises(BackendError, match="cannot load"):
        spec.open(Rise(artifact.geometry.size, 7, (0.5,), "fixed", 8, 0).perturbation, 1).__enter__()
