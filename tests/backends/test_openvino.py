"""OpenVINO behind the boundary: the same numbers as ONNX Runtime, overlapping batches, precision as asked."""

from __future__ import annotations

import numpy as np
import perturbing
import pytest

from rate.artifacts.artifact import load_artifact
from rate.artifacts.parity import check_parity
from rate.backends.onnxruntime import OrtSpec
from rate.backends.openvino import OpenVinoSpec, cpu_has_bf16
from rate.errors import BackendError
from rate.kernels.occlusion import Occlusion
from rate.kernels.rise import Rise
from rate.types import Rows


@pytest.fixture(scope="module")
def artifact(trained):
    return load_artifact(trained.artifact)


def batches(method, count: int) -> list[Rows]:
    masks = method.draw("a", 0, 8 * count)
    parts = [slice(8 * k, 8 * k + 8) for k in range(count)]
    return [Rows.under_masks(np.arange(8) % 3, masks.grid[part], masks.offset[part], fill=3) for part in parts]


@pytest.mark.parametrize("kind", ["rise", "occlusion"])
def test_logits_equal_those_of_onnxruntime_with_batches_in_flight(artifact, kind: str) -> None:
    size = artifact.geometry.size
    method = Rise(size, 7, (0.5,), "fixed", 64, 0) if kind == "rise" else Occlusion(size, size // 4, size // 8)
    images = np.random.default_rng(0).normal(size=(3, 3, size, size)).astype(np.float32)
    found = []
    for spec in (OrtSpec(artifact.graph(), 1), OpenVinoSpec(artifact.graph(), "f32", 2)):
        with spec.open(method.perturbation, 4) as backend:
            perturbing.put(backend, images)
            waiting, logits = [], []
            for rows in batches(method, 5):
                waiting.append(backend.submit(rows))
                if len(waiting) == backend.depth:
                    logits.append(waiting.pop(0).wait()["lp"])
            logits += [pending.wait()["lp"] for pending in waiting]
        found.append(np.concatenate(logits))
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)


def test_f32_passes_the_self_test(artifact) -> None:
    parity = check_parity(artifact, OpenVinoSpec(artifact.graph(), "f32"))
    assert max(parity.max_abs.values()) < 1e-4


def test_bf16_is_bf16_or_refused(artifact) -> None:
    spec = OpenVinoSpec(artifact.graph(), "bf16")
    method = Rise(artifact.geometry.size, 7, (0.5,), "fixed", 8, 0)
    if not cpu_has_bf16():
        with pytest.raises(BackendError, match="does not compute in bf16"):
            spec.open(method.perturbation, 1).__enter__()
        return
    [rows] = batches(method, 1)
    rows = Rows.under_masks(np.zeros(8, np.int64), rows.grid, rows.offset, fill=1)
    logits = []
    for precision in ("f32", "bf16"):
        with OpenVinoSpec(artifact.graph(), precision).open(method.perturbation, 2) as backend:
            backend.put(0, np.random.default_rng(0).normal(size=(3, method.size, method.size)).astype(np.float32))
            logits.append(backend.submit(rows).wait()["lp"])
    difference = np.abs(logits[0] - logits[1]).max()
    assert 0 < difference < 0.1 * np.abs(logits[0]).max()


def test_a_graph_that_is_none_is_refused(artifact, tmp_path) -> None:
    from dataclasses import replace

    (tmp_path / "pixels.onnx").write_bytes(b"nothing")
    spec = OpenVinoSpec(replace(artifact.graph(), path=tmp_path / "pixels.onnx"), "f32")
    with pytest.raises(BackendError, match="cannot load"):
        spec.open(Rise(artifact.geometry.size, 7, (0.5,), "fixed", 8, 0).perturbation, 1).__enter__()
