"""Retries of all remote storage, which fails and hangs: a few tries with waits between them, each of bounded time.

Credentials expire in the middle of long runs. That is no error of a sample: reads wait for new ones, then the run ends.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from rate.credentials import without_credentials
from rate.data.storage.hub import refused_by_hub
from rate.data.storage.limits import access_seconds, remote_seconds
from rate.data.storage.objects import forget_credentials, refused_credentials
from rate.errors import CredentialsError, DataError, RateError

WAITS = (1 / 120, 1 / 30, 2 / 15)
"""The waits before each further try, as shares of the longest silence: of 60 seconds, 0.5, 2 and 8."""

IN_A_ROW = 8
"""The number of consecutive failures of all tries after which the next access gets one try only, until a success.
Without this limit an unreachable storage would cost the waits for every image of the set.
"""

RENEWALS = 30
"""The number of times that new credentials are looked for while reads wait for them."""

_Result = TypeVar("_Result")


class _Storage:
    """The state of remote storage in this process; a race between threads does no harm."""

    failures = 0  # consecutive failures
    reached = False  # whether there was a success
    waiting = False  # whether reads wait for credentials
    renewed = 0.0  # when new ones were last looked for, seconds of the monotonic clock


def with_retries(url: str, work: Callable[[], _Result], progress: Callable[[], int] = lambda: 0) -> _Result:
    """Call ``work``, and again after a wait if it failed or hung; permanent errors are raised at once.

    Where the storage refuses credentials that it accepted before, the call waits for others.

    Args:
        url: the subject of the work, for the message.
        work: a call that may be abandoned in a thread when it hangs, and may run twice at once.
        progress: returns a number that changes with progress; without it the whole work has the time limit.

    Raises:
        OSError: no try succeeded.
        DataError: the Hugging Face Hub refuses it, see `refused_by_hub`.
        CredentialsError: the storage refuses the credentials, see `access_seconds`.
    """
    began, seconds = time.monotonic(), access_seconds()
    while True:
        try:
            result = _tried(url, work, progress)
        except Exception as error:
            if (cure := refused_by_hub(error, url)) is not None:
                raise DataError(f"{url}: {cure}") from error
            if (why := refused_credentials(error, url)) is None:
                raise
            if not _Storage.reached or time.monotonic() - began >= seconds:
                raise CredentialsError(_lost(url, why, seconds if _Storage.reached else 0.0)) from error
            _renew(url, why, seconds)
        else:
            _Storage.reached, _Storage.waiting = True, False
            return result


def _lost(url: str, why: str, seconds: float) -> str:
    waited = f" for {seconds:g} s, which RATE_ACCESS_SECONDS sets" if seconds else ""
    return without_credentials(
        f"{url}: the storage refuses the credentials ({why}){waited}. What is stored is right: renew them, or sign the "
        "URLs again, and run the same command again",
        known=url,
    )


def _renew(url: str, why: str, seconds: float) -> None:
    """Wait a moment, then let the next try find other credentials; one thread does it for all."""
    wait = seconds / RENEWALS
    if not _Storage.waiting:
        _Storage.waiting = True
        said = f"the storage refuses the credentials ({why}); others are looked for, for {seconds:g} s"
        logging.getLogger("rate").warning(said)
    if time.monotonic() - _Storage.renewed > wait:
        _Storage.renewed = time.monotonic()
        forget_credentials(url)
    time.sleep(wait)


def _tried(url: str, work: Callable[[], _Result], progress: Callable[[], int]) -> _Result:
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
            if refused_credentials(error, url) is not None or refused_by_hub(error, url) is not None:
                raise
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
