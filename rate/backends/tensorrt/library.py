"""The TensorRT library itself: found, new enough, and with its messages caught.

It is no extra of this package: its wheels come from NVIDIA's own index. Its failures are return values (None, False, a
negative index), so every caller checks them and puts the library's last messages into the exception.
"""

from __future__ import annotations

import importlib
import types
from typing import Any

from rate.errors import MissingExtra

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
    kind = types.new_class(
        "Log",
        (Messages, logger),
        exec_body=lambda body: body.update(serious=(logger.ERROR, logger.INTERNAL_ERROR)),
    )
    return kind()
