"""Batches on a token graph: however rows are mixed, each has the logits that it has alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import perturbing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rate.artifacts.artifact import load_artifact
from rate.backends.base import BackendSpec, Logits
from rate.backends.batches import clean_rows
from rate.backends.onnxruntime import OrtSpec
from rate.backends.openvino import OpenVinoSpec, cpu_has_bf16
from rate.backends.tokens import join, split
from rate.errors import BackendError
from rate.kernels.separable import rise
from rate.kernels.tokens import RiseTokens, patches
from rate.types import Rows

SPECS = [lambda graph: OrtSpec(graph, 1), lambda graph: OpenVinoSpec(graph, "f32", 1)]
NAMES = ["onnxruntime", "openvino"]


@pytest.fixture(scope="module")
def artifact(tiny_vit):
    return load_artifact(tiny_vit.artifact)


def mixed(count: int, seed: int = 0, images: int = 3) -> Rows:
    """Masks of half of 4 x 4 patches with clean rows among them."""
    drawn = RiseTokens(32, 4, (0.5,), "fixed", count, seed).draw("a", 0, count)
    rng = np.random.default_rng(seed)
    grid = drawn.grid.copy()
    grid[rng.random(count) < 0.3] = 1.0
    return Rows.under_masks(rng.integers(0, images, count), grid, drawn.offset, fill=0)


@settings(max_examples=40)
@given(count=st.integers(1, 20), seed=st.integers(0, 500), pad=st.booleans())
def test_parts_joined_are_the_batch(count: int, seed: int, pad: bool) -> None:
    """On a model whose logits say exactly which patches of which image it was given."""
    rows = mixed(count, seed)

    def model(slot: np.ndarray, kept: np.ndarray) -> Logits:
        return {"h": np.stack([slot, (2.0**kept).sum(axis=1)], axis=1).astype(np.float32)}

    parts = split(rows, pad)
    found = join(count, [(part, model(**part.feeds)) for part in parts])["h"]
    bits = (rows.grid.reshape(count, -1) * 2.0 ** np.arange(16)).sum(axis=1)
    np.testing.assert_array_equal(found, np.stack([rows.slot, bits], axis=1))
    for part in parts:
        clean = part.kept.shape[1] == 16
        assert len(part.slot) == (1 if clean else count if pad else len(part.at))


@pytest.mark.parametrize("make", SPECS, ids=NAMES)
def test_a_row_has_the_logits_it_has_alone(artifact, make) -> None:
    spec: BackendSpec = make(artifact.graph("tokens"))
    images, rows = perturbing.pictures(3, 32), mixed(12)
    together = perturbing.run(spec, patches(32, 4), images, rows)["zs"]
    with spec.open(patches(32, 4), 3) as backend:
        perturbing.put(backend, images)
        for k in range(12):
            np.testing.assert_allclose(backend.submit(rows[k : k + 1]).wait()["zs"][0], together[k], atol=2e-5)


@pytest.mark.parametrize("make", SPECS, ids=NAMES)
def test_all_patches_kept_is_the_pixel_form(artifact, make) -> None:
    images = perturbing.pictures(3, 32)
    clean = clean_rows(patches(32, 4), np.arange(3))
    tokens = perturbing.run(make(artifact.graph("tokens")), patches(32, 4), images, clean)["zs"]
    pixels = perturbing.run(make(artifact.graph()), patches(32, 4), images, clean)["zs"]
    np.testing.assert_allclose(tokens, pixels, atol=1e-4)


def test_dropping_is_not_painting_over(artifact) -> None:
    """Else the token form would be the pixel form under another name."""
    images, rows = perturbing.pictures(3, 32), mixed(12)
    masked = rows.grid.reshape(12, -1).sum(axis=1) < 16
    tokens, pixels = (
        perturbing.run(OrtSpec(artifact.graph(form), 1), patches(32, 4), images, rows)["zs"]
        for form in ("tokens", "pixels")
    )
    assert np.abs(tokens - pixels)[masked].max() > 1e-2


def test_batches_in_flight_on_openvino_are_those_of_onnxruntime(artifact) -> None:
    images, batches = perturbing.pictures(3, 32), [mixed(8, seed) for seed in range(7)]
    with OpenVinoSpec(artifact.graph("tokens"), "f32", 1).open(patches(32, 4), 3) as backend:
        perturbing.put(backend, images)
        waiting, found = [], []
        for rows in batches:
            waiting.append(backend.submit(rows))
            if len(waiting) == backend.depth:
                found.append(waiting.pop(0).wait()["zs"])
        found += [pending.wait()["zs"] for pending in waiting]
    spec = OrtSpec(artifact.graph("tokens"), 1)
    expected = [perturbing.run(spec, patches(32, 4), images, rows)["zs"] for rows in batches]
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), atol=1e-4)


@pytest.mark.skipif(not cpu_has_bf16(), reason="the CPU does not compute in bf16")
def test_in_bf16_the_share_of_clean_rows_changes_no_bit(artifact) -> None:
    spec, images, rows = OpenVinoSpec(artifact.graph("tokens"), "bf16", 1), perturbing.pictures(3, 32), mixed(8)
    grid = rows.grid.copy()
    masked = np.flatnonzero(grid.reshape(8, -1).sum(axis=1) < 16)
    grid[masked[1:]] = 1.0
    found = [perturbing.run(spec, patches(32, 4), images, replace(rows, grid=g))["zs"] for g in (rows.grid, grid)]
    np.testing.assert_array_equal(found[0][masked[0]], found[1][masked[0]])


@pytest.mark.parametrize("make", SPECS, ids=NAMES)
def test_masks_of_another_grid_are_refused(artifact, make) -> None:
    with pytest.raises(BackendError, match="has 4 patches a side, the masks are made for 7"):
        make(artifact.graph("tokens")).open(rise(32, 7), 1).__enter__()
