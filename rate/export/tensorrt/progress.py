"""How far TensorRT is with a plan, from the phases it reports; a way to end the build."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Observe = Callable[[float, str], None]
"""Told the share of the build that is done, 0 to 1, never less than before, and what is being done."""


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class BuildProgress:
    """Follows nested phases. An exception of the observer, Ctrl-C included, ends the build and is kept in ``failure``.

    The library swallows exceptions of these methods, so whoever starts the build raises ``failure`` afterwards.
    """

    def __init__(self, observe: Observe) -> None:
        super().__init__()  # of the library's monitor: its side of the object would otherwise be missing
        self.failure: BaseException | None = None
        self._observe = observe
        self._phases: dict[str, _Phase] = {}
        self._shown = 0.0
        self._lock = threading.Lock()  # the library reports from several threads

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Called by the library."""
        with self._lock:
            self._phases[phase_name] = _Phase(parent_phase, max(num_steps, 1))
            self._tell(phase_name)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Called by the library with a step counted from 0; False ends the build."""
        with self._lock:
            if phase_name in self._phases:
                self._phases[phase_name].done = step + 1
            self._tell(phase_name)
            return self.failure is None

    def phase_finish(self, phase_name: str) -> None:
        """Called by the library."""
        with self._lock:
            self._phases.pop(phase_name, None)

    def _tell(self, phase: str) -> None:
        if self.failure is not None:
            return
        try:
            top = (self._share(name) for name, one in self._phases.items() if one.parent not in self._phases)
            self._shown = max(self._shown, *top, 0.0)
            self._observe(self._shown, phase)
        except BaseException as error:
            self.failure = error

    def _share(self, name: str) -> float:
        """Steps done, the one under way counted by its own phases."""
        phase = self._phases[name]
        inner = max((self._share(child) for child, one in self._phases.items() if one.parent == name), default=0.0)
        return min(1.0, (phase.done + inner) / phase.steps)


def open_monitor(library: Any, observe: Observe) -> Any:
    """A `BuildProgress` that the library takes for a monitor of its own."""
    return types.new_class("Monitor", (BuildProgress, library.IProgressMonitor))(observe)
