"""ONNX Runtime behind the boundary: the same numbers as the bare model, and clear refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx_models
import perturbing
import pytest

from rate.backends.base import Graph
from rate.backends.batches import clean_rows
from rate.backends.onnxruntime import OrtSpec, RuntimeFailure, open_session
from rate.backends.process import usable_cores
from rate.errors import BackendError, UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.kernels.separable import occlusion, rise

SIZE = onnx_models.SIZE


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_models.Model().save(tmp_path_factory.mktemp("ort") / "model.onnx")


@pytest.fixture(scope="module")
def graph(source: Path) -> Graph:
    classes = onnx_models.write_classes(source.parent / "classes.txt")
    return export_artifact(f"onnx:{source}", source.parent / "artifact", ExportOptions(classes=classes)).graph()


@pytest.mark.parametrize("count", [1, 2, 33])
@pytest.mark.parametrize("perturbation", [rise(SIZE, 2), rise(SIZE, 8), occlusion(SIZE, 5, 3)], ids=lambda p: p.name)
def test_equals_the_bare_model_on_images_masked_by_hand(graph, source, perturbation, count) -> None:
    images = perturbing.pictures(4, SIZE)
    rows = perturbing.draw(perturbation, len(images), count)
    found = perturbing.run(OrtSpec(graph, threads=1), perturbation, images, rows)["native"]
    expected = onnx_models.raw_logits(source, perturbing.by_hand(perturbation, images, rows))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_slot_can_be_replaced_and_results_stay_the_callers(graph) -> None:
    masks = rise(SIZE, 3)
    first, second = perturbing.pictures(2, SIZE)
    rows = clean_rows(masks, np.zeros(1, np.int64))
    with OrtSpec(graph).open(masks, 1) as backend:
        backend.put(0, first)
        before = backend.submit(rows).wait()["native"]
        kept = before.copy()
        backend.put(0, second)
        after = backend.submit(rows).wait()["native"]
    np.testing.assert_array_equal(before, kept)
    assert np.abs(before - after).max() > 1e-3


def test_any_batch_size_gives_the_same_logits(graph) -> None:
    masks, images = rise(SIZE, 4), perturbing.pictures(3, SIZE)
    rows = perturbing.draw(masks, 3, 12)
    whole = perturbing.run(OrtSpec(graph), masks, images, rows)["native"]
    for start in range(0, 12, 5):
        found = perturbing.run(OrtSpec(graph), masks, images, rows[start : start + 5])["native"]
        np.testing.assert_allclose(found, whole[start : start + 5], atol=1e-6)


def test_says_what_it_is(graph) -> None:
    spec = OrtSpec(graph)
    with spec.open(rise(SIZE, 2), 1) as backend:
        assert (backend.name, backend.precision, backend.device, backend.depth) == ("onnxruntime", "f32", "cpu", 1)
        assert backend.version[0].isdigit()
    assert hash(spec) == hash(OrtSpec(graph))
    assert dataclasses.replace(spec, threads=2) != spec


def test_the_session_has_the_threads_it_was_told_and_no_other_provider(source) -> None:
    for asked, expected in ((0, usable_cores()), (1, 1)):
        session = open_session(str(source), asked)
        options = session.get_session_options()
        assert options.intra_op_num_threads == expected
        assert options.inter_op_num_threads == 1
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        assert session.get_providers() == ["CPUExecutionProvider"]


BROKEN = {
    "slot": np.zeros(2, np.int32),
    "fill": np.zeros((2, 1), np.int64),
    "side": np.zeros(2, np.bool_),
    "grid": np.ones((2, 4, 4), np.float32),
    "offset": np.zeros((3, 2), np.int64),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_malformed_batch_is_refused_by_name(graph, name) -> None:
    masks = rise(SIZE, 3)
    rows = dataclasses.replace(clean_rows(masks, np.zeros(2, np.int64)), **{name: BROKEN[name]})
    with OrtSpec(graph).open(masks, 1) as backend, pytest.raises(BackendError, match=f"^{name} must be"):
        backend.submit(rows)


@pytest.mark.parametrize(("name", "value", "last"), [("slot", 1, 0), ("fill", -1, 0), ("fill", 1, 0), ("side", 3, 2)])
def test_places_that_do_not_exist_are_refused_by_name(graph, name, value, last) -> None:
    masks = rise(SIZE, 3)
    rows = dataclasses.replace(clean_rows(masks, np.zeros(2, np.int64)), **{name: np.array([0, value])})
    message = f"^{name} must lie from 0 to {last}, got {min(0, value)} to {max(0, value)}"
    with OrtSpec(graph).open(masks, 1) as backend, pytest.raises(BackendError, match=message):
        backend.submit(rows)


def test_what_the_runtime_raises_becomes_one_error_with_a_cure(graph) -> None:
    def fails(*arguments: object) -> None:
        raise RuntimeError("out of memory")

    masks = rise(SIZE, 3)
    rows = clean_rows(masks, np.array([0]))
    with OrtSpec(graph).open(masks, 1) as backend:
        backend._session = SimpleNamespace(run=fails)
        with pytest.raises(BackendError, match=r"a batch of 1 rows: out of memory; .*--batch"):
            backend.submit(rows)


def test_a_graph_that_cannot_be_loaded_is_named(graph, tmp_path) -> None:
    (tmp_path / "torn.onnx").write_bytes(graph.path.read_bytes()[:100])
    for path in (tmp_path / "gone.onnx", tmp_path / "torn.onnx"):
        with (
            pytest.raises(BackendError, match=path.name),
            OrtSpec(dataclasses.replace(graph, path=path)).open(rise(SIZE, 2), 1),
        ):
            pass
    with pytest.raises(RuntimeFailure):
        open_session(b"not a model")


def test_masks_of_another_size_and_no_slots_are_refused(graph) -> None:
    with (
        pytest.raises(BackendError, match="takes 24 pixels, the masks are made for 32"),
        OrtSpec(graph).open(rise(32, 2), 1),
    ):
        pass
    with pytest.raises(BackendError, match="at least one resident image"), OrtSpec(graph).open(rise(SIZE, 2), 0):
        pass


def test_only_f32_on_the_cpu(graph) -> None:
    with pytest.raises(UsageError, match="fp16 graph"):
        OrtSpec(dataclasses.replace(graph, precision="fp16"))
