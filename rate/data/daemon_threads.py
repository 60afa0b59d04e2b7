"""Threads that the process does not join at its end, since a storage may hang."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class DaemonThreads:
    """A few threads that run submitted calls. Leaving the `with` block drops the pending calls and does not wait.

    `concurrent.futures.ThreadPoolExecutor` joins its threads when the interpreter ends.
    """

    def __init__(self, count: int, name: str) -> None:
        """Start ``count`` threads; ``name`` is their name in debuggers."""
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[Any], Any], Any] | None] = queue.SimpleQueue()
        self._left = False
        self._name = name
        self._threads: list[threading.Thread] = []
        self.grow(count)

    def __enter__(self) -> DaemonThreads:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let every thread end after its current call, without waiting for it."""
        self._left = True
        for _ in self._threads:
            self._calls.put(None)

    def grow(self, count: int) -> None:
        """Start threads until there are ``count``."""
        while len(self._threads) < count:
            number = len(self._threads)
            self._threads.append(threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True))
            self._threads[-1].start()

    def submit(self, function: Callable[[_Item], _Result], item: _Item) -> Future[_Result]:
        """Call ``function`` in one of the threads, in the order of submission."""
        future: Future[_Result] = Future()
        self._calls.put((future, function, item))
        return future

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Submit all calls at once, and yield the results in the order of ``items``."""
        futures = [self.submit(function, item) for item in items]
        return (future.result() for future in futures)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None and not self._left:
            future, function, item = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function(item)
            except BaseException as error:  # the caller handles it, as in `concurrent.futures`
                future.set_exception(error)
            else:
                future.set_result(result)
