"""One GPU's memory, streams and captured work, as far as the TensorRT backend needs them.

`CudaDevice` is torch's. Tests put a device in its place whose memory is the CPU's and whose streams do their work when
they are waited for: nothing here has been run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from rate.errors import BackendError, need

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Shape = tuple[int, ...]


class Stream(Protocol):
    """Work in order; none of it on the default stream, which would wait for all others."""

    @property
    def handle(self) -> int:
        """What the driver calls the stream."""

    def synchronize(self) -> None:
        """Wait until everything enqueued is done."""


class Device(Protocol):
    """A GPU. ``dtype`` is a name that numpy and torch share, such as "float32"."""

    name: str  # as the driver names the model of the GPU
    capability: str  # compute capability, "9.0"
    cuda: str  # version of the CUDA runtime, "13.0"

    def zeros(self, shape: Shape, dtype: str) -> Tensor:
        """Zeros in device memory."""

    def pinned(self, shape: Shape, dtype: str) -> Tensor:
        """Zeros in host memory that the device copies from and to while the host goes on."""

    def host(self, array: np.ndarray) -> Tensor:
        """A copy of ``array`` in host memory."""

    def stream(self) -> Stream:
        """A new stream."""

    def copy(self, to: Tensor, source: Tensor, stream: Stream) -> None:
        """Enqueue a copy between device memory and pinned memory."""

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Record what ``enqueue`` puts on ``stream``, without doing it; the result enqueues all of it at once.

        Raises:
            RuntimeError: it cannot be recorded.
        """


class CudaStream:
    """A stream of torch."""

    def __init__(self, stream: Any) -> None:
        self.torch_stream = stream

    @property
    def handle(self) -> int:
        """The cudaStream_t."""
        return int(self.torch_stream.cuda_stream)

    def synchronize(self) -> None:
        """Wait; errors of earlier work arrive here."""
        self.torch_stream.synchronize()


class CudaDevice:
    """The current CUDA device of torch: the first that CUDA_VISIBLE_DEVICES leaves visible."""

    def __init__(self) -> None:
        torch = need("torch", "export")
        if not torch.cuda.is_available():
            raise BackendError(
                f"TensorRT needs a GPU, and torch {torch.__version__} sees none; install a CUDA build of torch and the "
                "driver, or use another --backend"
            )
        self._torch: Any = torch
        self.name = str(torch.cuda.get_device_name())
        self.capability = ".".join(map(str, torch.cuda.get_device_capability()))
        self.cuda = str(torch.version.cuda)

    def zeros(self, shape: Shape, dtype: str) -> Tensor:
        """See `Device`."""
        tensor: Tensor = self._torch.zeros(shape, dtype=getattr(self._torch, dtype), device="cuda")
        # the zeros are written on another stream than those that will use them
        self._torch.cuda.synchronize()
        return tensor

    def pinned(self, shape: Shape, dtype: str) -> Tensor:
        """See `Device`."""
        tensor: Tensor = self._torch.zeros(shape, dtype=getattr(self._torch, dtype), pin_memory=True)
        return tensor

    def host(self, array: np.ndarray) -> Tensor:
        """See `Device`."""
        tensor: Tensor = self._torch.tensor(array)
        return tensor

    def stream(self) -> CudaStream:
        """See `Device`."""
        return CudaStream(self._torch.cuda.Stream())

    def copy(self, to: Tensor, source: Tensor, stream: Stream) -> None:
        """See `Device`."""
        with self._on(stream):
            to.copy_(source, non_blocking=True)

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Callable[[], None]:
        """See `Device`."""
        graph = self._torch.cuda.CUDAGraph()
        # thread_local: another thread that allocates device memory meanwhile would break the capture
        with self._torch.cuda.graph(graph, stream=_torch_stream(stream), capture_error_mode="thread_local"):
            enqueue()

        def replay() -> None:
            with self._on(stream):
                graph.replay()

        return replay

    def _on(self, stream: Stream) -> Any:
        return self._torch.cuda.stream(_torch_stream(stream))


def _torch_stream(stream: Stream) -> Any:
    if not isinstance(stream, CudaStream):
        raise TypeError(f"a stream of this device is needed, got {stream!r}")
    return stream.torch_stream


def open_device() -> Device:
    """The GPU that plans are built for and run on.

    Raises:
        MissingExtra: torch is not installed.
        BackendError: torch sees no GPU.
    """
    return CudaDevice()
