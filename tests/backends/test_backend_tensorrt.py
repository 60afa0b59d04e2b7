"""TensorRT behind the boundary, with a stand-in for the library: the order of its calls, the logits of ONNX Runtime."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_models
import perturbing
import pytest
from onnx import TensorProto, helper
from standin_tensorrt import Standin

from rate.backends.base import Graph
from rate.backends.batches import clean_rows
from rate.backends.onnxruntime import OrtSpec
from rate.backends.tensorrt import TensorRtSpec, split_rows
from rate.backends.tensorrt_library import INSTALL, load_tensorrt, open_gpu
from rate.errors import BackendError, MissingExtra, OutOfMemory, UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.export.graph.onnx_walk import with_float_inputs
from rate.export.tensorrt import profiles_for
from rate.kernels.separable import Perturbation, occlusion, rise
from rate.types import Rows

SIZE = onnx_models.SIZE
SIZES = (4, 16)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    folder = tmp_path_factory.mktemp("trt")
    source = onnx_models.Model(channels=16).save(folder / "model.onnx")
    classes = onnx_models.write_classes(folder / "classes.txt")
    return export_artifact(f"onnx:{source}", folder / "artifact", ExportOptions(classes=classes)).graph()


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Standin:
    return Standin().install(monkeypatch, tmp_path / "state")


def planned(standin: Standin, graph: Graph, folder: Path, sizes: tuple[int, ...] = SIZES) -> TensorRtSpec:
    """A plan as the stand-in's builder would write it."""
    content = json.dumps(
        {
            "version": standin.version,
            "gpu": standin.gpu.name,
            "onnx": base64.b64encode(with_float_inputs(graph.path)).decode(),
            "folder": str(graph.path.parent),
            "profiles": profiles_for(SIZE, sizes),
        }
    ).encode()
    path = folder / "a.plan"
    path.write_bytes(content)
    return TensorRtSpec(graph, path, hashlib.sha256(content).hexdigest(), sizes)


@pytest.fixture
def spec(standin: Standin, graph: Graph, tmp_path: Path) -> TensorRtSpec:
    return planned(standin, graph, tmp_path)


def clean(perturbation: Perturbation, count: int = 1) -> Rows:
    return clean_rows(perturbation, np.zeros(count, np.int64))


@pytest.mark.parametrize("count", [1, 4, 5, 16, 17, 50])
@pytest.mark.parametrize("perturbation", [rise(SIZE, 2), rise(SIZE, 7), occlusion(SIZE, 5, 3)], ids=lambda p: p.name)
def test_logits_equal_those_of_onnxruntime(graph, spec, perturbation, count) -> None:
    images = perturbing.pictures(4, SIZE)
    rows = perturbing.draw(perturbation, len(images), count)
    found = perturbing.run(spec, perturbation, images, rows)["native"]
    expected = perturbing.run(OrtSpec(graph, 1), perturbation, images, rows)["native"]
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_batch_that_nobody_waited_for_keeps_its_logits(spec) -> None:
    masks, images = rise(SIZE, 3), perturbing.pictures(1, SIZE)
    with spec.open(masks, 1) as backend:
        backend.put(0, images[0])
        pending = [backend.submit(perturbing.draw(masks, 1, 4, seed)) for seed in range(5)]
        found = [one.wait()["native"] for one in pending]
        again = [backend.submit(perturbing.draw(masks, 1, 4, seed)).wait()["native"] for seed in range(5)]
    np.testing.assert_array_equal(found, again)


def test_the_calls_of_a_context_in_their_order(standin, spec) -> None:
    masks = rise(SIZE, 7)
    with spec.open(masks, 3) as backend:
        backend.submit(clean(masks)).wait()
        first = standin.calls(0)
        for _ in range(6):
            backend.submit(clean(masks)).wait()
        assert standin.calls(0) == first, "later batches are replays, and nothing is set again"
    names = [call[0] for call in first]
    dynamic = {
        "pixels": (3, 3, SIZE, SIZE),
        "zero": (3, 3),
        "scale": (3, 3),
        "region": (3, SIZE, SIZE),
        "table": (4, SIZE, 7),
    }
    dynamic |= {"table": (4, SIZE, 7), "slot": (4,), "fill": (4,), "side": (4,), "grid": (4, 7, 7), "offset": (4, 2)}
    assert names[:2] == ["context", "set_optimization_profile_async"]
    assert first[1] == ("set_optimization_profile_async", 0)
    assert {call[1]: call[2] for call in first if call[0] == "set_input_shape"} == dynamic
    assert names[2 + len(dynamic)] == "infer_shapes"
    addressed = [call[1] for call in first if call[0] == "set_tensor_address"]
    assert sorted(addressed) == sorted([*dynamic, "a", "b", "logits_native"])
    assert names[-2:] == ["execute_async_v3"] * 2, "once to flush what the shapes left, once to capture"
    assert len(names) == 3 + len(dynamic) + len(addressed) + 2
    handles = {call[1] for call in first if call[0] == "execute_async_v3"}
    assert len(handles) == 1
    assert 0 not in handles, "the default stream waits for all others"


def test_a_graph_is_captured_once_for_every_batch_size_and_replayed_for_every_batch(standin, spec) -> None:
    masks, gpu = rise(SIZE, 4), standin.gpu
    with spec.open(masks, 1) as backend:
        assert gpu.captures == 0
        for replays, (count, captures) in enumerate([(3, 1), (1, 1), (9, 2), (4, 2), (16, 2)], start=1):
            backend.submit(clean(masks, count)).wait()
            assert (gpu.captures, gpu.replays) == (captures, replays)
        backend.submit(clean(masks, 40)).wait()
        assert gpu.replays == 5 + 3, "a batch above the largest size goes in parts"
    with spec.open(rise(SIZE, 5), 2) as backend:
        backend.submit(clean(rise(SIZE, 5), 3)).wait()
    assert gpu.captures == 3, "other tables and images have other addresses"
    executed = [call for call in standin.trace if call[0] == "execute_async_v3"]
    assert len(executed) == 2 * gpu.captures


def test_a_resident_input_of_another_type_than_the_plans_is_refused(standin, graph, tmp_path) -> None:
    model = onnx.load(str(graph.path))
    pixels = next(value for value in model.graph.input if value.name == "pixels")
    pixels.type.tensor_type.elem_type = TensorProto.FLOAT16
    for node in model.graph.node:
        node.input[:] = ["wide" if name == "pixels" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Cast", ["pixels"], ["wide"], to=TensorProto.FLOAT))
    onnx.save(model, str(tmp_path / "half.onnx"))
    spec = planned(standin, replace(graph, path=tmp_path / "half.onnx"), tmp_path)
    masks = rise(SIZE, 4)
    with spec.open(masks, 1) as backend, pytest.raises(BackendError, match=r"pixels is torch.float16 in the plan"):
        backend.submit(clean(masks))


def test_without_capture_every_batch_is_enqueued(standin, spec) -> None:
    masks = rise(SIZE, 4)
    with replace(spec, capture=False).open(masks, 1) as backend:
        for _ in range(4):
            backend.submit(clean(masks)).wait()
    assert standin.gpu.captures == 0
    assert sum(call[0] == "execute_async_v3" for call in standin.trace) == 4 + 1  # a context runs once at first


@pytest.mark.parametrize("version", ["10.12.0.36", "11.4.0.106"])
def test_it_says_what_it_is_and_works_with_both_versions(monkeypatch, graph, tmp_path, version) -> None:
    standin = Standin(version).install(monkeypatch, tmp_path)
    spec = planned(standin, graph, tmp_path)
    with spec.open(rise(SIZE, 2), 1) as backend:
        assert (backend.name, backend.precision, backend.device) == ("tensorrt", "f32", "cpu")
        assert backend.version == version
        backend.submit(clean(rise(SIZE, 2))).wait()
    assert spec.precision == "f32"
    assert hash(spec) == hash(replace(spec))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("create_execution_context", r"an execution context cannot be made: a.plan, Error Code 2: OutOfM.*--batch"),
        ("set_optimization_profile_async", r"profile 0 cannot be selected: Error in set optim.*; build it again"),
        ("set_input_shape", r"pixels has the shape \(1, 3, 24, 24\), the plan takes \(1, 3, 24, 24\) to \(1024, 3"),
        ("set_tensor_address", r"the address of pixels is refused: .*; build it again"),
        ("execute_async_v3", r"cannot run a batch of 4 rows: a.plan, Error Code 1: Cuda Runtime .*--batch"),
    ],
)
def test_every_refusal_of_the_library_is_an_error_with_its_message_and_a_cure(standin, spec, call, message) -> None:
    standin.faults.calls.add(call)
    masks = rise(SIZE, 4)
    with spec.open(masks, 1) as backend, pytest.raises(BackendError, match=message) as caught:
        backend.submit(clean(masks))
    assert isinstance(caught.value, OutOfMemory) == ("emory" in str(caught.value)), "told from other failures"


def test_a_plan_that_cannot_be_captured_is_an_error(standin, spec) -> None:
    standin.gpu.capture_fails = True
    masks = rise(SIZE, 4)
    with spec.open(masks, 1) as backend, pytest.raises(BackendError, match="cannot be captured as a CUDA graph: oper"):
        backend.submit(clean(masks))


def test_an_input_that_the_host_would_read_is_refused(standin, spec) -> None:
    standin.faults.host_input = "offset"
    with pytest.raises(BackendError, match="makes shapes of the values of offset"), spec.open(rise(SIZE, 4), 1):
        pass


def test_what_lies_outside_the_profiles_is_refused_with_their_range(spec) -> None:
    fine = replace(spec, batch_sizes=(4,))
    masks = rise(SIZE, 4)
    with fine.open(masks, 1025) as backend, pytest.raises(BackendError, match=r"pixels has the shape \(1025, .*1024"):
        backend.submit(clean(masks))
    with (
        replace(spec, batch_sizes=(5,)).open(masks, 1) as backend,
        pytest.raises(BackendError, match=r"the plan has batches of \[4, 16\] rows, asked for 5"),
    ):
        backend.submit(clean(masks))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slot", np.array([0, 2])),
        ("slot", np.array([0, -1])),
        ("slot", np.zeros(3, np.int64)),
        ("fill", np.array([0, 2])),
        ("side", np.array([0, 3])),
        ("grid", np.zeros((2, 3, 3), np.float32)),
        ("offset", np.array([[0, 0], [0, 99]])),
        ("offset", np.zeros((2, 3), np.int64)),
    ],
)
def test_a_malformed_batch_is_refused_by_name(spec, name, value) -> None:
    masks = rise(SIZE, 4)
    rows = replace(clean(masks, 2), **{name: value})
    with spec.open(masks, 2) as backend, pytest.raises(BackendError, match=r"must .*: the batch is malformed"):
        backend.submit(rows)


def test_only_the_very_plan_is_loaded(standin, spec) -> None:
    masks = rise(SIZE, 4)
    spec.plan.write_bytes(spec.plan.read_bytes() + b" ")
    with pytest.raises(BackendError, match=r"has changed and is not loaded: .*; build it again"), spec.open(masks, 1):
        pass
    spec.plan.unlink()
    with pytest.raises(BackendError, match=r"a.plan cannot be read \(No such file"), spec.open(masks, 1):
        pass


def test_a_plan_that_cannot_be_deserialised_is_an_error(standin, graph, tmp_path) -> None:
    masks = rise(SIZE, 4)
    (tmp_path / "a.plan").write_bytes(b"nothing")
    torn = TensorRtSpec(graph, tmp_path / "a.plan", hashlib.sha256(b"nothing").hexdigest(), SIZES)
    with (
        pytest.raises(BackendError, match=r"cannot load .*a.plan \(Error Code 1: Serial.*; build it"),
        torn.open(masks, 1),
    ):
        pass
    elsewhere = planned(standin, graph, tmp_path)
    standin.gpu.name = "another GPU"
    with pytest.raises(BackendError, match="Error Code 6"), elsewhere.open(masks, 1):
        pass


def test_a_plan_of_another_graph_is_refused(graph, spec) -> None:
    other = replace(spec, graph=replace(graph, heads=("native", "lp")))
    with pytest.raises(BackendError, match=r"was not built from .*logits_lp"), other.open(rise(SIZE, 4), 1):
        pass


def test_masks_of_another_size_no_slots_and_token_graphs_are_refused(graph, spec) -> None:
    with pytest.raises(BackendError, match="takes 24 pixels, the masks are made for 32"), spec.open(rise(32, 2), 1):
        pass
    with pytest.raises(BackendError, match="at least one resident image"), spec.open(rise(SIZE, 2), 0):
        pass
    with pytest.raises(UsageError, match="drops patches, and no plan is built for that"):
        replace(spec, graph=replace(graph, patches=4))


@pytest.mark.parametrize(("count", "sizes"), [(1, (1,)), (7, (2,)), (31, (1, 8, 32)), (33, (1, 8, 32)), (64, (32,))])
def test_pieces_cover_every_row_once_in_order(count, sizes) -> None:
    found = split_rows(count, sizes)
    assert np.concatenate([np.arange(count)[part] for part, _ in found]).tolist() == list(range(count))
    for part, size in found:
        length = part.stop - part.start
        assert size == min(one for one in sizes if one >= length)
    assert all(size == sizes[-1] for _, size in found[:-1])


def test_a_library_that_is_missing_is_named_with_the_vendors_command(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtra, match="TensorRT is needed here and cannot be imported") as caught:
        load_tensorrt()
    assert INSTALL in str(caught.value)


def test_a_library_whose_parts_do_not_load_is_named_too(monkeypatch, tmp_path) -> None:
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    (tmp_path / "tensorrt.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtra, match=r"libcudart.so.13: cannot open") as caught:
        load_tensorrt()
    assert INSTALL in str(caught.value)


def test_a_library_that_is_too_old_is_refused(monkeypatch, tmp_path) -> None:
    Standin("10.11.0.33").install(monkeypatch, tmp_path)
    with pytest.raises(MissingExtra, match=r"TensorRT 10.11.0.33 is too old, 10.12 or newer is needed"):
        load_tensorrt()


def test_without_a_gpu_the_message_says_what_torch_sees() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(BackendError, match=r"TensorRT needs a GPU, and torch .* sees none; install"):
        open_gpu()
