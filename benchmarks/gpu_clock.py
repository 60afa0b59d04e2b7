"""Time on a device: rounds of several things in turn, so that a card that slows down slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Run = Callable[[], object]
"""Starts the work; it need not wait for it."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median, smallest and largest of the rounds."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Clock:
    """How long a measurement takes."""

    device: torch.device
    rounds: int
    seconds: float  # of one round

    def in_turn(self, runs: dict[str, Run]) -> dict[str, Timing]:
        """Time every run ``rounds`` times, interleaved; the first round warms up and is thrown away."""
        calls = {name: self._calls(run) for name, run in runs.items()}
        rounds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(self.rounds + 1):
            for name, run in runs.items():
                rounds[name].append(self._measure(run, calls[name]))
        return {
            name: Timing(statistics.median(found), min(found), max(found))
            for name, (_, *found) in ((name, tuple(values)) for name, values in rounds.items())
        }

    def submit(self, run: Run) -> float:
        """Median seconds until the host is free again, with nothing queued on the device before."""
        found = []
        for _ in range(self.rounds + 1):
            self.wait()
            began = time.perf_counter()
            run()
            found.append(time.perf_counter() - began)
        self.wait()
        return statistics.median(found[1:])

    def wait(self) -> None:
        """Until the device has nothing left to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _calls(self, run: Run) -> int:
        self._measure(run, 1)  # compiles and tunes
        return max(1, round(self.seconds / max(self._measure(run, 1), 1e-6)))

    def _measure(self, run: Run, calls: int) -> float:
        self.wait()
        began = time.perf_counter()
        for _ in range(calls):
            run()
        self.wait()
        return (time.perf_counter() - began) / calls
