"""Retries of all remote storage, which fails and hangs: a few tries with waits between them, each of bounded time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from rate.credentials import without_credentials
from rate.data.storage.limits import remote_seconds
from rate.errors import RateError

WAITS = (1 / 120, 1 / 30, 2 / 15)
"""The waits before each further try, as shares of the longest silence: of 60 seconds, 0.5, 2 and 8."""

IN_A_ROW = 8
"""The number of consecutive failures of all tries after which the next access gets one try only, until a success.
Without this limit an unreachable storage would cost the waits for every image of the set.
"""

_Result = TypeVar("_Result")


class _Storage:
    """The state of remote storage in this process."""

    failures = 0  # consecutive failures; a race between threads does no harm


def with_retries(url: str, work: Callable[[], _Result], progress: Callable[[], int] = lambda: 0) -> _Result:
    """Call ``work``, and again after a wait if it failed or hung; permanent errors are raised at once.

    Args:
        url: the subject of the work, for the message.
        work: a call that may be abandoned in a thread when it hangs, and may run twice at once.
        progress: returns a number that changes with progress; without it the whole work has the time limit.

    Raises:
        OSError: no try succeeded.
    """
    seconds = remote_seconds()
    waits = WAITS if _Storage.failures < IN_A_ROW else ()
    tries = len(waits) + 1
    for wait in (*waits, None):
        try:
            result = _in_time(seconds, work, progress)
        except (FileNotFoundError, PermissionError, ImportError, ValueError, RateError):
            _Storage.failures = 0  # a success ends the series
            raise
        except Exception as error:  # each fsspec backend has its own exceptions
            if wait is None:
                _Storage.failures += 1
                count = "1 try, as those before it failed" if tries == 1 < len(WAITS) + 1 else f"{tries} tries"
                said = f"{url} cannot be fetched ({count}): {type(error).__name__}: {error}"
                raise OSError(without_credentials(said, known=url)) from error
        else:
            _Storage.failures = 0
            return result
        time.sleep(wait * seconds)
    raise AssertionError("the last try returns or raises")


def _in_time(seconds: float, work: Callable[[], _Result], progress: Callable[[], int]) -> _Result:
    """Run ``work`` in its own thread. A thread cannot be ended; a hanging one is abandoned until the process ends."""
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((work(), None))
        except BaseException as error:  # the caller handles it
            answers.put((None, error))

    threading.Thread(target=run, name="rate-remote", daemon=True).start()
    before = progress()
    while True:
        try:
            result, error = answers.get(timeout=seconds)
        except queue.Empty:
            if (now := progress()) == before:
                cure = "RATE_REMOTE_SECONDS allows more"
                raise TimeoutError(f"the storage was silent for {seconds:g} s; {cure}") from None
            before = now
            continue
        if error is not None:
            raise error
        done: _Result = result
        return done
