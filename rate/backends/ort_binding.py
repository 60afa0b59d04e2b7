"""ONNX Runtime with inputs and outputs bound to memory of the device.

The module works on the device "cpu" too; on a GPU only the memory, the copies and the recorded graphs differ.

A batch at fixed addresses is recorded as a CUDA graph when it first runs, and replayed afterwards. The runtime records
in CUDA's global mode, in which a copy of any thread of the process ends the recording, so all of them take turns.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from rate.backends.base import IdleClock
from rate.backends.batches import HostImages
from rate.backends.process import split_device
from rate.errors import BackendError, OutOfMemory, need
from rate.types import Float32, Picture, SoftRegion

Feeds = Mapping[str, np.ndarray]
"""Maps each graph input to its value."""

_CUDART = ("libcudart.so.13", "libcudart.so.12", "cudart64_13.dll", "cudart64_12.dll")
_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost

_RECORDING = threading.Lock()
"""Held while a graph is recorded and while something is copied or allocated on a device."""


class DeviceMemory:
    """An allocator of ONNX Runtime values on one device."""

    def __init__(self, device: str) -> None:
        self._ort = need("onnxruntime", "gpu")
        self.kind, self.index = split_device(device)
        self.clock = IdleClock()

    def from_host(self, array: np.ndarray) -> Any:
        """Copy ``array`` to the device."""
        # on the CPU the runtime takes ownership of the array's memory, so it gets a copy
        with _RECORDING:
            return self._ort.OrtValue.ortvalue_from_numpy(np.array(array, order="C"), self.kind, self.index)

    def empty(self, shape: tuple[int, ...]) -> Any:
        """Allocate an f32 value."""
        with _RECORDING:
            return self._ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, self.kind, self.index)

    def to_host(self, values: Sequence[Any]) -> Callable[[], list[Float32]]:
        """Return a function that copies ``values`` from the device to new arrays, on a GPU through pinned memory."""
        if self.kind == "cpu":
            return lambda: [np.array(value.numpy()) for value in values]
        cuda = CudaCopy(self.index)
        pinned = [cuda.pinned(tuple(value.shape())) for value in values]

        def copied() -> list[Float32]:
            for value, array in zip(values, pinned, strict=True):
                cuda.copy(array.ctypes.data, value.data_ptr(), array.nbytes, _TO_HOST)
            return [array.copy() for array in pinned]

        return copied


class ResidentImages:
    """The pictures of the slots and their regions [i,h,w] on the device; `put` writes one slot."""

    def __init__(self, place: DeviceMemory, slots: int, size: int) -> None:
        empty, self._slots = HostImages(slots, size), slots
        host = empty.feeds
        self.feeds = {name: place.from_host(array) for name, array in host.items()}
        self._one = [(name, array.shape[1:], array.dtype) for name, array in host.items()]
        self._cuda = CudaCopy(place.index) if place.kind == "cuda" else None

    def put(self, slot: int, picture: Picture, region: SoftRegion | None) -> None:
        """Copy a picture and its region into ``slot``, and wait for the copies; see `Backend.put`.

        The runtime can only replace a value as a whole, which would send all images for each new one.

        Raises:
            BackendError: the slot does not exist, or the picture or the region has another size or type.
        """
        weights = np.zeros_like(picture.levels[0]) if region is None else region
        given = (picture.levels, picture.zero, picture.scale, weights)
        for (name, shape, kind), array in zip(self._one, given, strict=True):
            if array.shape != shape or array.dtype != kind or not 0 <= slot < self._slots:
                raise BackendError(
                    f"slot {slot} of {self._slots} takes {name} {kind} {shape}, got {array.dtype} {array.shape}: "
                    "the image is malformed"
                )
            source = np.ascontiguousarray(array)
            self._copy(self.feeds[name].data_ptr() + slot * source.nbytes, source)

    def _copy(self, target: int, source: np.ndarray) -> None:
        if self._cuda is None:
            ctypes.memmove(target, source.ctypes.data, source.nbytes)
        else:
            self._cuda.copy(target, source.ctypes.data, source.nbytes)


class CudaCopy:
    """Copies to a GPU through the CUDA runtime that the provider has already loaded.

    Raises:
        BackendError: no such library can be loaded, or CUDA refuses a copy.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        self._library = self._load()
        self._library.cudaMemcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._library.cudaStreamSynchronize.argtypes = [ctypes.c_void_p]
        self._library.cudaMallocHost.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t]
        self._library.cudaFreeHost.argtypes = [ctypes.c_void_p]

    def _load(self) -> ctypes.CDLL:
        for name in _CUDART:
            try:
                return ctypes.CDLL(name)
            except OSError:
                continue
        raise BackendError(
            f"none of {', '.join(_CUDART)} can be loaded, which copies images to the GPU; "
            "pip install 'onnxruntime-gpu[cuda,cudnn]', or use --device cpu"
        )

    def copy(self, target: int, source: int, size: int, way: int = _TO_DEVICE) -> None:
        """Copy ``size`` bytes, from the host to the device if nothing else is said, and wait: cudaMemcpy may return
        early.
        """
        with _RECORDING:
            steps = (
                self._library.cudaSetDevice(self._index),
                self._library.cudaMemcpy(target, source, size, way),
                self._library.cudaStreamSynchronize(None),
            )
        if any(steps):
            goal = f"{'to' if way == _TO_DEVICE else 'from'} device {self._index}"
            raise BackendError(f"CUDA could not copy {size} bytes {goal}: error {max(steps)}")

    def pinned(self, shape: tuple[int, ...]) -> Float32:
        """Allocate an array in memory of the host that a device copies to at full speed."""
        address, size = ctypes.c_void_p(), 4 * math.prod(shape)
        with _RECORDING:
            error = self._library.cudaMallocHost(ctypes.byref(address), size)
        if error or address.value is None:
            raise OutOfMemory(f"CUDA has no {size} bytes of pinned memory: error {error}; use a smaller --batch")
        memory = (ctypes.c_float * math.prod(shape)).from_address(address.value)
        weakref.finalize(memory, self._library.cudaFreeHost, address)
        return np.ctypeslib.as_array(memory).reshape(shape)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result of a batch."""

    outputs: list[Float32]  # on the host, in the order of the session; the caller owns them
    idle_s: float  # seconds before it in which the device computed nothing


class StreamBuffers:
    """Buffers at fixed addresses for one batch in flight."""

    def __init__(
        self, session: Any, resident: Mapping[str, Any], feeds: Feeds, place: DeviceMemory, graph: int
    ) -> None:
        """Bind the inputs and outputs of ``feeds``; ``graph`` is the number of their CUDA graph, -1 = none."""
        self._session, self._binding = session, session.io_binding()
        self._options = need("onnxruntime", "gpu").RunOptions()
        self._options.add_run_config_entry("gpu_graph_id", str(graph))
        self._recorded = graph < 0
        self._clock = place.clock
        self._inputs = {name: place.from_host(array) for name, array in feeds.items()}
        for name, value in {**resident, **self._inputs}.items():
            self._binding.bind_ortvalue_input(name, value)
        rows = len(feeds["slot"])
        self._outputs = [place.empty((rows, int(output.shape[1]))) for output in session.get_outputs()]
        for output, value in zip(session.get_outputs(), self._outputs, strict=True):
            self._binding.bind_ortvalue_output(output.name, value)
        self._fetch = place.to_host(self._outputs)
        self._running: Future[Fetched] | None = None

    def start(self, feeds: Feeds, worker: ThreadPoolExecutor) -> Future[Fetched]:
        """Copy ``feeds`` to the device and run the graph, after the earlier work of ``worker``."""
        if self._running is not None:
            wait([self._running])
        with _RECORDING:
            for name, array in feeds.items():
                self._inputs[name].update_inplace(np.ascontiguousarray(array))
        self._running = worker.submit(self._run)
        return self._running

    def _run(self) -> Fetched:
        with self._clock.batch() as idle_s, nullcontext() if self._recorded else _RECORDING:
            self._session.run_with_iobinding(self._binding, self._options)
        self._recorded = True
        return Fetched(self._fetch(), idle_s)


class Buffers:
    """As many `StreamBuffers` for every shape of a batch as there are batches in flight, used in turn.

    One thread runs all of them: the runtime computes one batch while the host prepares the next one. It also records
    their graphs, which belong to a thread.
    """

    def __init__(
        self, session: Any, resident: Mapping[str, Any], place: DeviceMemory, depth: int, numbers: Iterator[int]
    ) -> None:
        """``numbers`` are those of the CUDA graphs of a session, each used once; see `StreamBuffers`."""
        self._session, self._resident, self._place, self._depth = session, dict(resident), place, depth
        self._numbers = numbers
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="rate-device")
        self._of_shape: dict[tuple[tuple[int, ...], ...], list[StreamBuffers]] = {}

    def start(self, feeds: Feeds) -> Future[Fetched]:
        """Start a batch; see `StreamBuffers.start`."""
        shape = tuple(array.shape for array in feeds.values())
        if shape not in self._of_shape:
            self._of_shape[shape] = [
                StreamBuffers(self._session, self._resident, feeds, self._place, next(self._numbers))
                for _ in range(self._depth)
            ]
        buffers = self._of_shape[shape]
        buffers.append(buffers.pop(0))
        return buffers[-1].start(feeds, self._worker)

    def close(self) -> None:
        """Wait for the batches in flight, and end the thread."""
        self._worker.shutdown()
