"""ONNX Runtime on an NVIDIA GPU: images, table and buffers stay on the device, and a batch uploads only its grids.

ONNX Runtime falls back to the CPU silently; here that is an error. The provider is checked for the session as a whole
and for every node that carries the arithmetic.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any

import numpy as np

from rate.backends.base import Backend, Graph, Logits, Pending, runtime_failure
from rate.backends.batches import check_fits, check_rows, clean_rows, perturbation_feeds, row_feeds
from rate.backends.onnxruntime import session_options
from rate.backends.ort_binding import Buffers, DeviceMemory, Feeds, Fetched, ResidentImages
from rate.backends.process import cuda_visible, split_device
from rate.backends.tokens import SplitPending, split
from rate.errors import BackendError, MissingExtra, OutOfMemory, UsageError, first_line, need
from rate.kernels.separable import Perturbation
from rate.types import Picture, Rows, SoftRegion

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_HEAVY = ("MatMul", "Gemm", "Conv", "Attention", "Einsum")
_CURE = (
    "CUDA, cuBLAS or cuDNN of the version that this ONNX Runtime needs are missing or do not fit the driver: "
    "pip install 'onnxruntime-gpu[cuda,cudnn]', see `rate doctor`, or use --device cpu"
)


@dataclass(frozen=True, slots=True)
class OrtCudaSpec:
    """A graph in f32, fp16 or bf16 with inputs and outputs bound to a device; f32 is computed without TF32."""

    graph: Graph  # its precision is that of the arithmetic
    device: str = "cuda:0"  # or "cpu", which computes half graphs in f32
    threads: int = 0  # threads of the nodes on the CPU; 0 = all cores that this process may use

    def __post_init__(self) -> None:
        if split_device(self.device)[0] not in PROVIDERS:
            raise UsageError(f"device must be cuda, cuda:N or cpu, got {self.device!r}")
        if self.graph.precision not in ("f32", "fp16", "bf16"):
            raise UsageError(
                f"{self.graph.path} is an {self.graph.precision} graph; ONNX Runtime runs f32, fp16 and bf16 on a GPU"
            )

    @property
    def name(self) -> str:
        """The backend's name: `onnxruntime-cuda`, or `onnxruntime-cpu` on the CPU."""
        return f"onnxruntime-{split_device(self.device)[0]}"

    @property
    def precision(self) -> str:
        """The precision of the graph."""
        return self.graph.precision

    @contextmanager
    def open(self, perturbation: Perturbation, slots: int) -> Iterator[Backend]:
        """Load the graph onto the device; see `BackendSpec`.

        Batches are replayed as CUDA graphs if one can be recorded; a token graph has batches of too many shapes.
        """
        with ExitStack() as stack:
            backend, why = None, ""
            if self.graph.patches is None:
                try:
                    backend = self._bound(perturbation, slots, graphs=True)
                except OutOfMemory:
                    raise
                except BackendError as error:
                    why = first_line(error)
            if backend is None:
                backend = self._bound(perturbation, slots, graphs=False)
            if why:
                logging.getLogger("rate").warning("ONNX Runtime runs without CUDA graphs, and slower: %s", why)
            stack.callback(backend.close)
            yield backend

    def _bound(self, perturbation: Perturbation, slots: int, graphs: bool) -> OrtCudaBackend:
        backend = OrtCudaBackend(open_session(self, graphs), self, graphs)
        try:
            backend.bind(perturbation, slots)
            if graphs:
                backend.submit(clean_rows(perturbation, np.zeros(1, np.int64))).wait()
        except BaseException:
            backend.close()
            raise
        return backend


def ready() -> bool:
    """Tell whether a GPU is visible and the installed ONNX Runtime has its provider."""
    if not cuda_visible():
        return False
    try:
        return PROVIDERS["cuda"] in need("onnxruntime", "gpu").get_available_providers()
    except MissingExtra:
        return False


def open_session(spec: OrtCudaSpec, graphs: bool = False) -> Any:
    """Open a session on the device of ``spec``; with ``graphs`` it records the runs that have a "gpu_graph_id".

    Raises:
        MissingExtra: ONNX Runtime is not installed, or not the one with CUDA.
        BackendError: the graph cannot be loaded, or would run elsewhere.
    """
    ort = need("onnxruntime", "gpu")
    kind, index = split_device(spec.device)
    provider, offered = PROVIDERS[kind], ort.get_available_providers()
    if provider not in offered:
        raise MissingExtra(
            f"--device {spec.device} needs {provider}, the installed ONNX Runtime has {', '.join(offered)}; "
            "pip uninstall onnxruntime, then pip install 'rate-engine[gpu]' (never both)"
        )
    options = session_options(spec.threads, spec.precision)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers: list[Any] = [provider]
    if kind == "cuda":
        with contextlib.redirect_stdout(sys.stderr):  # it prints the names of missing libraries
            ort.preload_dlls()
        # the few nodes that compute shapes run on the CPU
        providers = [(provider, cuda_settings(index, graphs)), PROVIDERS["cpu"]]
    try:
        session = ort.InferenceSession(str(spec.graph.path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # its exception types share no base class
        raise BackendError(
            f"ONNX Runtime cannot load {spec.graph.path} on {spec.device}: {error}; use another --backend or "
            "--precision, or export the artifact again"
        ) from error
    session.disable_fallback()
    check_runs_on(session, provider)
    return session


def cuda_settings(index: int, graphs: bool) -> dict[str, str]:
    """Return the options of the CUDA provider on the GPU ``index``; see `open_session`."""
    return {"device_id": str(index), "use_tf32": "0", "enable_cuda_graph": str(int(graphs))}


def check_runs_on(session: Any, provider: str) -> None:
    """Refuse a session that does not run on ``provider``, as a whole or in its matrix products.

    Args:
        session: opened with "session.record_ep_graph_assignment_info" set.
        provider: the expected execution provider.

    Raises:
        BackendError: the message names the actual provider, and the cure.
    """
    actual = session.get_providers()
    if not actual or actual[0] != provider:
        raise BackendError(f"ONNX Runtime would run on {', '.join(actual)}, asked for {provider}; {_CURE}")
    placed = Counter(
        (part.ep_name, node.op_type)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
        if any(word in node.op_type for word in _HEAVY)
    )
    elsewhere = {f"{count} {op} on {name}" for (name, op), count in placed.items() if name != provider}
    if elsewhere or not placed:
        actual = ", ".join(sorted(elsewhere)) or "no matrix product anywhere"
        raise BackendError(
            f"{provider} was requested and does not run the matrix products: {actual}; "
            "use another --precision or --backend, or export the artifact again"
        )


class OrtCudaBackend:
    """An open `OrtCudaSpec`."""

    depth = 3  # one batch runs, one waits, and the host prepares the third

    def __init__(self, session: Any, spec: OrtCudaSpec, graphs: bool = False) -> None:
        self.name, self.precision, self.device = spec.name, spec.precision, spec.device
        self.version = str(need("onnxruntime", "gpu").__version__)
        self._heads = tuple(output.name.removeprefix("logits_") for output in session.get_outputs())
        self._tokens = spec.graph.patches is not None
        self._session, self._graph, self._place = session, spec.graph, DeviceMemory(spec.device)
        self._buffers: Buffers | None = None
        self._numbers: Iterator[int] = count(1) if graphs else repeat(-1)

    def bind(self, perturbation: Perturbation, slots: int) -> None:
        """See `Backend`."""
        check_fits(self._graph, perturbation, slots)
        self.close()  # its buffers hold on to the images and the table
        place, self._perturbation, self._slots = self._place, perturbation, slots
        try:
            self._images = ResidentImages(place, slots, perturbation.size)
            resident = dict(self._images.feeds)
            if self._tokens:
                del resident["region"]
            else:
                resident |= {name: place.from_host(value) for name, value in perturbation_feeds(perturbation).items()}
        except RuntimeError as error:
            raise runtime_failure(f"{self.name} cannot put {slots} images on {self.device}", error) from error
        self._buffers = Buffers(self._session, resident, place, self.depth, self._numbers)

    def put(self, slot: int, picture: Picture, region: SoftRegion | None = None) -> None:
        """See `Backend`."""
        self._images.put(slot, picture, region)

    def submit(self, rows: Rows) -> Pending:
        """Start the forward of ``rows``; see `Backend`."""
        check_rows(rows, self._perturbation, self._slots)
        if not self._tokens:
            return self._start(row_feeds(rows))
        *few, most = split(rows, pad=True)
        done = [(part, self._start(part.feeds).wait()) for part in few]
        return SplitPending(len(rows), done, most, self._start(most.feeds))

    def _start(self, feeds: Feeds) -> OrtCudaPending:
        assert self._buffers is not None, "a backend is bound before a batch is submitted"
        count = len(feeds["slot"])
        try:
            return OrtCudaPending(self._buffers.start(feeds), self._heads, count)
        except Exception as error:  # its exception types share no base class
            raise _failed(count, error) from error

    def close(self) -> None:
        """Wait for the batches in flight."""
        if self._buffers is not None:
            self._buffers.close()


@dataclass(frozen=True, slots=True)
class OrtCudaPending:
    """A batch in flight."""

    future: Future[Fetched]
    heads: tuple[str, ...]
    count: int

    def wait(self) -> Logits:
        """Wait for the batch; see `Pending`."""
        try:
            outputs = self.future.result().outputs
        except Exception as error:  # its exception types share no base class
            raise _failed(self.count, error) from error
        return dict(zip(self.heads, outputs, strict=True))

    @property
    def idle_s(self) -> float:
        """See `Pending`."""
        return self.future.result().idle_s


def _failed(rows: int, error: Exception) -> BackendError:
    return runtime_failure(f"ONNX Runtime failed on a batch of {rows} rows", error)
