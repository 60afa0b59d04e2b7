"""The TensorRT library and the GPU of its plans: import, version check and error messages.

TensorRT is no extra of this package, since its wheels come from NVIDIA's own index. Its failures are return values
(None, False, a negative index), so every caller checks them and adds the library's last messages to the exception.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable
from typing import Any

from rate.errors import BackendError, MissingExtra, need

INSTALL = "pip install --extra-index-url https://pypi.nvidia.com tensorrt-cu13"
OLDEST = (10, 12)
"""The oldest version whose calls this package uses; newer ones, 11 included, have the same calls."""

_LAST = 3  # number of messages in an exception


def load_tensorrt() -> Any:
    """Import the module. Import torch first, so that TensorRT uses the CUDA libraries that torch installed.

    Raises:
        MissingExtra: it is not installed, its libraries do not load, or it is too old.
    """
    try:
        library = importlib.import_module("tensorrt")
        version = str(library.__version__)
    # OSError: a shared library is missing. AttributeError: a removed package left an empty folder.
    except (ImportError, OSError, AttributeError) as error:
        raise MissingExtra(
            f"TensorRT is needed here and cannot be imported ({error}); install it with: {INSTALL} "
            "(tensorrt-cu12 for a CUDA 12 build of torch)"
        ) from error
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise MissingExtra(
            f"TensorRT {version} is too old, {'.'.join(map(str, OLDEST))} or newer is needed; "
            f"install it with: {INSTALL}"
        )
    return library


class Messages:
    """A logger that keeps the library's error messages; the library's own logger writes to stdout."""

    serious: tuple[object, ...] = ()

    def __init__(self) -> None:
        super().__init__()  # initialises the library's base class, which the mixin order would skip
        self.errors: list[str] = []

    def log(self, severity: object, msg: str) -> None:
        """Record a message; the library calls this method."""
        if severity in self.serious:
            self.errors.append(msg.strip())

    def take(self) -> str:
        """Return the last messages since the previous call, for an exception."""
        said, self.errors = self.errors[-_LAST:], []
        return "; ".join(said) or "TensorRT gives no reason"


def open_log(library: Any) -> Any:
    """Make a `Messages` object that the library accepts as its logger."""
    logger = library.ILogger
    serious = (logger.ERROR, logger.INTERNAL_ERROR)
    return types.new_class("Log", (Messages, logger), exec_body=lambda body: body.update(serious=serious))()


class Gpu:
    """A CUDA device of torch, identified by its number among the visible ones."""

    def __init__(self, device: str) -> None:
        torch = need("torch", "train")
        if not torch.cuda.is_available():
            raise BackendError(
                f"TensorRT needs a GPU, and torch {torch.__version__} sees none; install a CUDA build of torch and the "
                "driver, or use another --backend"
            )
        self._torch: Any = torch
        self.device = device  # torch's name of the device that holds the plan's memory
        self.name = str(torch.cuda.get_device_name(device))
        self.capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
        self.cuda = str(torch.version.cuda)

    def stream(self) -> int:
        """Return the cudaStream_t of the current stream."""
        return int(self._torch.cuda.current_stream().cuda_stream)

    def synchronize(self) -> None:
        """Wait for the current stream; errors of earlier work are raised here."""
        self._torch.cuda.current_stream().synchronize()

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Capture the work that ``enqueue`` puts on the current stream; the returned function enqueues all of it at
        once.

        Raises:
            RuntimeError: the work cannot be captured.
        """
        graph = self._torch.cuda.CUDAGraph()
        stream = self._torch.cuda.current_stream()
        # thread_local: the capture would fail if another thread allocated device memory
        with self._torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            enqueue()
        replay: Callable[[], None] = graph.replay
        return replay


def open_gpu(device: str = "cuda:0") -> Gpu:
    """Open the GPU on which plans are built and run.

    Raises:
        MissingExtra: torch is not installed.
        BackendError: torch sees no GPU.
    """
    return Gpu(device)
