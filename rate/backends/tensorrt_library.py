"""The TensorRT library and the GPU that its plans belong to: found, new enough, and with their messages caught.

TensorRT is no extra of this package: its wheels come from NVIDIA's own index. Its failures are return values (None,
False, a negative index), so every caller checks them and puts the library's last messages into the exception.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable
from typing import Any

from rate.errors import BackendError, MissingExtra, need

INSTALL = "pip install --extra-index-url https://pypi.nvidia.com tensorrt-cu13"
OLDEST = (10, 12)
"""Oldest version whose calls are those of this package; newer ones, 11 included, take the same."""

_LAST = 3  # messages worth repeating


def load_tensorrt() -> Any:
    """The module. Import torch first: TensorRT then finds the CUDA libraries that torch brought along.

    Raises:
        MissingExtra: it is not installed, its libraries do not load, or it is too old.
    """
    try:
        library = importlib.import_module("tensorrt")
        found = str(library.__version__)
    # OSError: a shared library is missing. AttributeError: an empty folder is left of a package that was removed.
    except (ImportError, OSError, AttributeError) as error:
        raise MissingExtra(
            f"TensorRT is needed here and cannot be imported ({error}); install it with: {INSTALL} "
            "(tensorrt-cu12 for a CUDA 12 build of torch)"
        ) from error
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST:
        raise MissingExtra(
            f"TensorRT {found} is too old, {'.'.join(map(str, OLDEST))} or newer is needed; install it with: {INSTALL}"
        )
    return library


class Messages:
    """What the library says of its own failures; nothing is printed: its own logger writes to stdout."""

    serious: tuple[object, ...] = ()

    def __init__(self) -> None:
        super().__init__()  # of the library's logger: its side of the object would otherwise be missing
        self.errors: list[str] = []

    def log(self, severity: object, msg: str) -> None:
        """Called by the library."""
        if severity in self.serious:
            self.errors.append(msg.strip())

    def take(self) -> str:
        """The last messages since the last call, for an exception."""
        said, self.errors = self.errors[-_LAST:], []
        return "; ".join(said) or "TensorRT gives no reason"


def open_log(library: Any) -> Any:
    """A `Messages` that the library takes for a logger of its own."""
    logger = library.ILogger
    serious = (logger.ERROR, logger.INTERNAL_ERROR)
    return types.new_class("Log", (Messages, logger), exec_body=lambda body: body.update(serious=serious))()


class Gpu:
    """A CUDA device of torch, by its number among the visible ones."""

    def __init__(self, device: str) -> None:
        torch = need("torch", "train")
        if not torch.cuda.is_available():
            raise BackendError(
                f"TensorRT needs a GPU, and torch {torch.__version__} sees none; install a CUDA build of torch and the "
                "driver, or use another --backend"
            )
        self._torch: Any = torch
        self.device = device  # as torch calls the place of the plan's memory
        self.name = str(torch.cuda.get_device_name(device))
        self.capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
        self.cuda = str(torch.version.cuda)

    def stream(self) -> int:
        """The cudaStream_t of the current stream."""
        return int(self._torch.cuda.current_stream().cuda_stream)

    def synchronize(self) -> None:
        """Wait for the current stream; errors of earlier work arrive here."""
        self._torch.cuda.current_stream().synchronize()

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Record what ``enqueue`` puts on the current stream, without doing it; the result enqueues it at once.

        Raises:
            RuntimeError: it cannot be recorded.
        """
        graph = self._torch.cuda.CUDAGraph()
        stream = self._torch.cuda.current_stream()
        # thread_local: another thread that allocates device memory meanwhile would break the capture
        with self._torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            enqueue()
        replay: Callable[[], None] = graph.replay
        return replay


def open_gpu(device: str = "cuda:0") -> Gpu:
    """The GPU that plans are built for and run on.

    Raises:
        MissingExtra: torch is not installed.
        BackendError: torch sees no GPU.
    """
    return Gpu(device)
