"""The progress of an evaluation that Python code started: a bar on a terminal, a line that changes in a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rate.engine.evaluate import Observe
from rate.engine.evaluate import Progress as State

EVERY_S = 0.5
"""The pause between two changes of a line in a notebook."""


@contextmanager
def progress_bar(total: int) -> Iterator[Observe]:
    """Yield what shows the progress of the evaluation of ``total`` samples, and of the maps that follow them."""
    if (shell := _notebook()) is not None:
        yield _in_notebook(shell, total)
        return
    from rich.console import Console

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {"samples": bars.add_task("samples", total=total)}

        def observe(now: State) -> None:
            what, done, of = _of(now, total)
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done)

        yield observe


def _in_notebook(shell: Callable[..., Any], total: int) -> Observe:
    handle, began, said = shell({"text/plain": f"samples 0/{total}"}, raw=True, display_id=True), time.monotonic(), 0.0

    def observe(now: State) -> None:
        nonlocal said
        what, done, of = _of(now, total)
        passed = time.monotonic() - began
        if done == of or passed - said >= EVERY_S:
            said = passed
            errors = f", {now.errors} errors" if now.errors else ""
            handle.update({"text/plain": f"{what} {done}/{of}, {passed:.0f} s{errors}"}, raw=True)

    return observe


def _of(now: State, total: int) -> tuple[str, int, int]:
    """Return what is being done, how much of it is done, and of how much."""
    if now.drawing is not None:
        return "maps", now.drawing.done, now.drawing.samples
    return "samples", now.stored + now.done, total


def _notebook() -> Callable[..., Any] | None:
    """Return IPython's `display` if this process is the kernel of a notebook."""
    if "ipykernel" not in sys.modules:
        return None
    from IPython import get_ipython
    from IPython.display import display

    shell: Callable[..., Any] = display
    return shell if getattr(get_ipython(), "kernel", None) is not None else None
