"""The bound backend on the device "cpu", with the order and overlap that a GPU sees; and CUDA where there is none."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_models
import perturbing
import pytest

from rate.artifacts.artifact import Artifact
from rate.artifacts.parity import judge
from rate.artifacts.parity_sample import load_sample
from rate.backends import ort_binding, ort_cuda
from rate.backends.batches import clean_rows, row_feeds
from rate.backends.onnxruntime import OrtSpec, session_options
from rate.backends.ort_cuda import OrtCudaSpec, check_runs_on, open_session, ready
from rate.errors import BackendError, MissingExtra, OutOfMemory, UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.kernels.separable import occlusion, rise
from rate.types import Rows

SIZE = onnx_models.SIZE


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """f32 and fp16 of one small model."""
    folder = tmp_path_factory.mktemp("cuda")
    source = onnx_models.Model(channels=16, deep=True).save(folder / "model.onnx")
    options = ExportOptions(classes=onnx_models.write_classes(folder / "classes.txt"), precision="fp16")
    return export_artifact(f"onnx:{source}", folder / "artifact", options)


def on_cpu(artifact: Artifact, precision: str = "f32") -> OrtCudaSpec:
    return OrtCudaSpec(artifact.graph("pixels", precision), device="cpu", threads=1)


def stream(spec, perturbation, images: np.ndarray, batches: list[Rows]) -> list[np.ndarray]:
    """Logits of all batches, as many in flight as the backend wants."""
    found: list[np.ndarray] = []
    with spec.open(perturbation, len(images)) as backend:
        perturbing.put(backend, images)
        waiting = []
        for rows in batches:
            waiting.append(backend.submit(rows))
            if len(waiting) == backend.depth:
                found.append(waiting.pop(0).wait()["native"])
        found += [pending.wait()["native"] for pending in waiting]
    return found


@pytest.mark.parametrize("perturbation", [rise(SIZE, 7), occlusion(SIZE, 5, 3)], ids=lambda p: p.name)
def test_logits_and_their_order_are_those_of_the_plain_backend(artifact, perturbation) -> None:
    images = perturbing.pictures(3, SIZE)
    sizes = [1, 8, 8, 8, 8, 8, 5, 3, 8, 11, 2]
    batches = [perturbing.draw(perturbation, 3, count, seed) for seed, count in enumerate(sizes)]
    found = stream(on_cpu(artifact), perturbation, images, batches)
    expected = stream(OrtSpec(artifact.graph(), 1), perturbation, images, batches)
    assert [len(logits) for logits in found] == sizes
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert np.abs(found[1] - found[2]).max() > 1e-3


def test_results_stay_the_callers_when_buffers_are_used_again(artifact) -> None:
    masks, images = rise(SIZE, 4), perturbing.pictures(2, SIZE)
    first = perturbing.draw(masks, 2, 6, 0)
    given = {name: array.copy() for name, array in row_feeds(first).items()}
    with on_cpu(artifact).open(masks, 2) as backend:
        perturbing.put(backend, images)
        logits = backend.submit(first).wait()["native"]
        kept = logits.copy()
        for seed in range(1, 6):
            backend.submit(perturbing.draw(masks, 2, 6, seed)).wait()
    np.testing.assert_array_equal(logits, kept)
    for name, array in row_feeds(first).items():
        np.testing.assert_array_equal(array, given[name])


def test_more_batches_than_buffers_wait_for_their_turn(artifact) -> None:
    """Nothing is overwritten where a caller keeps more in flight than was agreed."""
    masks, images = rise(SIZE, 4), perturbing.pictures(2, SIZE)
    batches = [perturbing.draw(masks, 2, 6, seed) for seed in range(9)]
    expected = stream(OrtSpec(artifact.graph(), 1), masks, images, batches)
    with on_cpu(artifact).open(masks, 2) as backend:
        perturbing.put(backend, images)
        pending = [backend.submit(rows) for rows in batches]
        found = [one.wait()["native"] for one in reversed(pending)][::-1]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_submit_returns_while_the_device_runs(artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host stages the next batch meanwhile; one thread alone runs the session."""
    release, seen = threading.Event(), set()
    run = ort_binding.StreamBuffers._run

    def slow(buffers):
        seen.add(threading.current_thread().name)
        assert release.wait(10)
        return run(buffers)

    masks = rise(SIZE, 4)
    with on_cpu(artifact).open(masks, 1) as backend:
        monkeypatch.setattr(ort_binding.StreamBuffers, "_run", slow)
        backend.put(0, perturbing.pictures(1, SIZE)[0])
        began = time.perf_counter()
        pending = [backend.submit(perturbing.draw(masks, 1, 4, seed)) for seed in range(2)]
        assert time.perf_counter() - began < 5
        assert not any(one.future.done() for one in pending)
        release.set()
        assert [len(one.wait()["native"]) for one in pending] == [4, 4]
    assert len(seen) == 1
    assert threading.current_thread().name not in seen


def test_nothing_is_copied_while_a_batch_is_recorded_and_each_buffer_has_a_graph_of_its_own(
    artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU nothing is recorded, but the first run of every buffer has the numbers and the lock of a recording."""
    runs: list[tuple[str, bool]] = []
    run = ort_binding.StreamBuffers._run
    made = ort_binding.StreamBuffers.__init__

    def numbered(buffers, *arguments):
        made(buffers, *arguments)
        buffers._options = Options(str(arguments[-1]), buffers._options)
        buffers._session = Session(buffers._session)

    class Options:
        def __init__(self, number: str, own: object) -> None:
            self.number, self.own = number, own

    class Session:
        def __init__(self, own: object) -> None:
            self.own = own

        def run_with_iobinding(self, binding: object, options: Options) -> None:
            runs.append((options.number, ort_binding._RECORDING.locked()))
            self.own.run_with_iobinding(binding, options.own)

    monkeypatch.setattr(ort_binding.StreamBuffers, "__init__", numbered)
    masks = rise(SIZE, 4)
    with on_cpu(artifact).open(masks, 1) as backend:
        for _ in range(2 * backend.depth):
            backend.submit(perturbing.draw(masks, 1, 4)).wait()
        backend.bind(masks, 2)
        backend.submit(perturbing.draw(masks, 1, 4)).wait()
    assert ort_binding.StreamBuffers._run is run
    assert runs[0] == ("1", True), "one row, when it is opened"
    assert [locked for _, locked in runs[1:7]] == [True] * 3 + [False] * 3
    first = [number for number, locked in runs if locked]
    assert len(set(first)) == len(first) == 5, "the buffers of other images are recorded anew"
    assert [number for number, _ in runs[4:7]] == [number for number, _ in runs[1:4]]


@pytest.mark.parametrize("step", ["load", "run"])
def test_where_no_graph_can_be_recorded_batches_run_without(
    artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    load, run = ort_cuda.open_session, ort_binding.StreamBuffers._run

    def refusing(spec: OrtCudaSpec, graphs: bool = False) -> object:
        if graphs and step == "load":
            raise BackendError("this session cannot use the graph capture feature")
        return load(spec, graphs)

    def failing(buffers: ort_binding.StreamBuffers) -> list[np.ndarray]:
        if not buffers._recorded and step == "run":
            raise RuntimeError("operation would make the legacy stream depend on a capturing stream")
        return run(buffers)

    monkeypatch.setattr(ort_cuda, "open_session", refusing)
    monkeypatch.setattr(ort_binding.StreamBuffers, "_run", failing)
    masks, images = rise(SIZE, 4), perturbing.pictures(2, SIZE)
    rows = perturbing.draw(masks, 2, 6)
    threads = threading.active_count()
    found = perturbing.run(on_cpu(artifact), masks, images, rows)["native"]
    assert threading.active_count() == threads
    [record] = caplog.records
    assert record.getMessage().startswith("ONNX Runtime runs without CUDA graphs, and slower: ")
    expected = perturbing.run(OrtSpec(artifact.graph(), 1), masks, images, rows)["native"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_slot_is_replaced_alone(artifact) -> None:
    masks, images = rise(SIZE, 3), perturbing.pictures(4, SIZE)
    rows = clean_rows(masks, np.arange(3))
    with on_cpu(artifact).open(masks, 3) as backend:
        for slot in range(3):
            backend.put(slot, images[slot])
        before = backend.submit(rows).wait()["native"]
        backend.put(1, replace(images[3], levels=np.asfortranarray(images[3].levels)))
        after = backend.submit(rows).wait()["native"]
        cut, wide = (replace(images[0], levels=levels) for levels in (images[0].levels[:, 1:], images[0].pixels))
        for slot, picture in ((3, images[0]), (-1, images[0]), (0, cut), (0, wide)):
            with pytest.raises(BackendError, match=r"takes pixels uint8 \(3, 24, 24\)"):
                backend.put(slot, picture)
    np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])
    alone = perturbing.run(OrtSpec(artifact.graph(), 1), masks, images[3:], clean_rows(masks, np.zeros(1, np.int64)))[
        "native"
    ]
    np.testing.assert_allclose(after[1], alone[0], atol=1e-6)


class Cudart:
    """The part of CUDA's runtime library that is used, for memory of the host."""

    def __init__(self, name: str, code: int = 0) -> None:
        if not name.endswith(".12"):
            raise OSError(name)
        self.calls: list[str] = []

        def cudaSetDevice(index: int) -> int:
            self.calls.append(f"device {index}")
            return 0

        def cudaMemcpy(target: int, source: int, size: int, kind: int) -> int:
            self.calls.append(f"copy {size} {kind}")
            ctypes.memmove(target, source, size)
            return code

        def cudaStreamSynchronize(stream: None) -> int:
            self.calls.append("wait")
            return 0

        def cudaMallocHost(pointer, size: int) -> int:
            self.calls.append(f"pin {size}")
            memory = self.pinned[len(self.pinned)] = ctypes.create_string_buffer(size)
            pointer._obj.value = ctypes.addressof(memory)
            return 2 if size > 1000 else 0

        def cudaFreeHost(address: ctypes.c_void_p) -> int:
            self.calls.append("unpin")
            return 0

        self.pinned: dict[int, object] = {}
        self.cudaMallocHost, self.cudaFreeHost = cudaMallocHost, cudaFreeHost
        self.cudaSetDevice, self.cudaMemcpy = cudaSetDevice, cudaMemcpy
        self.cudaStreamSynchronize = cudaStreamSynchronize


def test_an_image_is_copied_to_its_gpu_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = np.arange(6, dtype=np.float32), np.zeros(6, np.float32)
    monkeypatch.setattr(ort_binding.ctypes, "CDLL", Cudart)
    copy = ort_binding.CudaCopy(3)
    copy.copy(target.ctypes.data, source.ctypes.data, source.nbytes)
    np.testing.assert_array_equal(target, source)
    assert copy._library.calls == ["device 3", "copy 24 1", "wait"], "1 is from host to device"
    monkeypatch.setattr(ort_binding.ctypes, "CDLL", lambda name: Cudart(name, code=700))
    with pytest.raises(BackendError, match="could not copy 24 bytes to device 3: error 700"):
        ort_binding.CudaCopy(3).copy(target.ctypes.data, source.ctypes.data, source.nbytes)


def test_outputs_come_through_pinned_memory_and_are_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Value:
        """An output on the device: memory of the host here."""

        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def shape(self) -> list[int]:
            return list(self.array.shape)

        def data_ptr(self) -> int:
            return self.array.ctypes.data

    libraries: list[Cudart] = []

    def load(name: str) -> Cudart:
        libraries.append(Cudart(name))
        return libraries[-1]

    monkeypatch.setattr(ort_binding.ctypes, "CDLL", load)
    values = [Value(np.arange(6, dtype=np.float32).reshape(2, 3)), Value(np.ones((2, 1), np.float32))]
    fetch = ort_binding.DeviceMemory("cuda:1").to_host(values)
    first = fetch()
    values[0].array += 1
    second = fetch()
    np.testing.assert_array_equal(first[0], second[0] - 1)
    np.testing.assert_array_equal(second[1], np.ones((2, 1)))
    [library] = libraries
    copies = ["device 1", "copy 24 2", "wait", "device 1", "copy 8 2", "wait"]
    assert library.calls == ["pin 24", "pin 8", *copies, *copies], "2 is from device to host; nothing is pinned anew"
    del fetch
    assert library.calls[-2:] == ["unpin", "unpin"]
    with pytest.raises(OutOfMemory, match="no 4000 bytes of pinned memory: error 2"):
        ort_binding.CudaCopy(0).pinned((1000,))


def test_without_a_cuda_runtime_there_is_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ort_binding.ctypes, "CDLL", missing)
    with pytest.raises(BackendError, match=r"none of libcudart.so.13.* can be loaded.*--device cpu"):
        ort_binding.CudaCopy(0)


def test_a_half_graph_runs_on_the_cpu_and_is_half(artifact) -> None:
    spec = on_cpu(artifact, "fp16")
    parity = judge(load_sample(artifact), spec)
    assert parity.precision == spec.precision == "fp16"
    assert 1e-6 < parity.max_abs["native"] < 0.1
    assert judge(load_sample(artifact), on_cpu(artifact)).max_abs["native"] <= 1e-4


def test_a_half_graph_is_never_optimized_for_the_cpu_alone() -> None:
    """That step ends the process on half graphs of whole vision transformers; no exception could be caught."""
    import onnxruntime

    level = onnxruntime.GraphOptimizationLevel
    assert session_options(1).graph_optimization_level == level.ORT_ENABLE_ALL
    for precision in ("fp16", "bf16"):
        assert session_options(1, precision).graph_optimization_level == level.ORT_ENABLE_EXTENDED


@pytest.mark.slow
def test_a_whole_vision_transformer_in_fp16_does_not_end_the_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from rate.backends.ort_cuda import OrtCudaSpec\n"
        "from rate.export.export import ExportOptions, export_artifact\n"
        "from rate.artifacts.parity import judge\nfrom rate.artifacts.parity_sample import load_sample\n"
        "made = export_artifact('timm:vit_base_patch32_224', Path(sys.argv[1]), ExportOptions(precision='fp16'))\n"
        "judge(load_sample(made), OrtCudaSpec(made.graph('pixels', 'fp16'), device='cpu'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_tokens_are_split_as_everywhere(tiny_vit) -> None:
    from rate.artifacts.artifact import load_artifact

    graph = load_artifact(tiny_vit.artifact).graph("tokens")
    spec = OrtCudaSpec(graph, device="cpu", threads=1)
    assert judge(load_sample(load_artifact(tiny_vit.artifact), "tokens"), spec).max_abs["zs"] <= 1e-4


def test_cuda_on_a_runtime_without_it_is_refused_with_the_cure(artifact) -> None:
    spec = OrtCudaSpec(artifact.graph())
    with (
        pytest.raises(MissingExtra, match=r"needs CUDAExecutionProvider, the installed ONNX Runtime has .*\[gpu\]"),
        spec.open(rise(SIZE, 3), 1),
    ):
        pass


def test_a_session_that_fell_back_is_an_error_with_a_cure(artifact) -> None:
    """This is what a runtime with CUDA gives on a machine whose CUDA libraries are missing: a session on the CPU."""
    session = open_session(on_cpu(artifact))
    check_runs_on(session, "CPUExecutionProvider")
    with pytest.raises(BackendError, match=r"would run on CPUExecutionProvider, asked for CUDAExec.*--device cpu"):
        check_runs_on(session, "CUDAExecutionProvider")


def test_nodes_that_fell_back_are_an_error_even_where_the_session_did_not(artifact) -> None:
    """The session says CUDA, its matrix products are on the CPU: only the assignment of nodes tells."""

    class Pretends:
        def __init__(self, session):
            self.get_provider_graph_assignment_info = session.get_provider_graph_assignment_info

        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    with pytest.raises(BackendError, match=r"MatMul on CPUExecutionProvider"):
        check_runs_on(Pretends(open_session(on_cpu(artifact))), "CUDAExecutionProvider")


@pytest.mark.parametrize("name", ["slot", "fill", "side", "grid", "offset"])
def test_a_malformed_batch_is_refused(artifact, name: str) -> None:
    rows = perturbing.draw(rise(SIZE, 3), 1, 2)
    broken = replace(rows, **{name: getattr(rows, name)[..., None]})
    with on_cpu(artifact).open(rise(SIZE, 3), 1) as backend, pytest.raises(BackendError, match=f"^{name} must be"):
        backend.submit(broken)


def test_what_the_runtime_raises_arrives_when_it_is_waited_for(artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(buffers):
        raise RuntimeError("out of memory")

    masks = rise(SIZE, 3)
    good = clean_rows(masks, np.array([0]))
    with on_cpu(artifact).open(masks, 1) as backend:
        with monkeypatch.context() as patched:
            patched.setattr(ort_binding.StreamBuffers, "_run", fails)
            pending = backend.submit(good)
            with pytest.raises(BackendError, match=r"a batch of 1 rows: out of memory; .*--batch"):
                pending.wait()
        assert np.isfinite(backend.submit(good).wait()["native"]).all()


def test_a_graph_that_cannot_be_loaded_is_named(artifact, tmp_path: Path) -> None:
    spec = OrtCudaSpec(replace(artifact.graph(), path=tmp_path / "gone.onnx"), device="cpu")
    with pytest.raises(BackendError, match=r"cannot load .*gone.onnx"), spec.open(rise(SIZE, 3), 1):
        pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "tpu"}, "device must be cuda, cuda:N or cpu"),
    ],
)
def test_specs_that_make_no_sense_are_refused(artifact, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OrtCudaSpec(artifact.graph(), **settings)
    with pytest.raises(UsageError, match="int8 graph"):
        OrtCudaSpec(replace(artifact.graph(), precision="int8"))


def test_says_what_it_is(artifact) -> None:
    spec = OrtCudaSpec(artifact.graph("pixels", "fp16"), "cuda:1")
    assert (spec.name, spec.precision) == ("onnxruntime-cuda", "fp16")
    assert hash(spec) == hash(OrtCudaSpec(artifact.graph("pixels", "fp16"), "cuda:1"))
    with on_cpu(artifact).open(rise(SIZE, 2), 1) as backend:
        assert (backend.name, backend.precision, backend.device) == ("onnxruntime-cpu", "f32", "cpu")
        assert backend.depth == 3


def test_without_a_visible_gpu_no_runtime_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*names: str) -> None:
        raise AssertionError(names)

    monkeypatch.setattr(ort_cuda, "need", asked)
    monkeypatch.setattr(ort_cuda, "cuda_visible", lambda: False)
    assert not ready()
    monkeypatch.setattr(ort_cuda, "cuda_visible", lambda: True)
    with pytest.raises(AssertionError, match="onnxruntime"):
        ready()
