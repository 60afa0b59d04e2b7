"""The output of commands: results to stdout, progress and notices to stderr."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from rate.cli.visible import VisibleOnly, escaped, visible
from rate.credentials import without_credentials

if TYPE_CHECKING:
    from rich.progress import Progress

PLAIN_EVERY_S = 10.0


def results() -> Console:
    """Return the console of results, which writes plain text of any width if stdout is not a terminal.

    Names are printed literally: `[red]` in one is no style, and `:cat:` no picture.
    """
    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False, markup=False, emoji=False)
    console.push_render_hook(VisibleOnly())
    return console


def say(text: object) -> None:
    """Print a result as plain text."""
    typer.echo(visible(without_credentials(str(text))))


@dataclass(slots=True)
class _Log:
    as_json: bool = False


_LOG = _Log()


def log_as_json(chosen: bool) -> None:
    """Choose between JSON lines and text for the progress and notices of this process."""
    _LOG.as_json = chosen


def notice(message: str, level: str = "info", **fields: Any) -> None:
    """Print a notice, which is not a result; ``fields`` are for JSON lines only."""
    message = without_credentials(message)
    if _LOG.as_json:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        message = json.dumps({"time": now, "level": level, "message": message.strip()} | fields, ensure_ascii=False)
        message = escaped(message)
    typer.echo(visible(message), err=True)


def print_json(value: Any) -> None:
    """Print a result as JSON."""
    from rate.records import written

    # In an encoding that lacks a character, JSON's escape keeps the character, unlike a substitute.
    as_ascii = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    typer.echo(escaped(written(value, as_ascii)))


class Steps:
    """Progress with a rate and the time left: a bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self, title: str, total: int, unit: str = "images") -> None:
        self._bar: Progress | None = None
        self._start(title, total, unit)

    def __enter__(self) -> Steps:
        if sys.stderr.isatty() and not _LOG.as_json:
            from rich import progress

            title, detail = (
                progress.TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[detail]}")
            )
            columns = (
                title,
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
                detail,
            )
            self._bar = progress.Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._bar.add_task(self.title, total=self._total, detail="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, title: str, total: int, unit: str = "images") -> None:
        """Go on with another piece of work, below the one before."""
        self._start(title, total, unit)
        if self._bar is not None:
            self._bar.add_task(title, total=total, detail="")

    def _start(self, title: str, total: int, unit: str) -> None:
        self.title, self._total, self._unit = title, total, unit
        self._began = self._said = time.monotonic()
        self._last = 0

    def show(self, done: int, detail: str = "") -> None:
        """Show that ``done`` of the total are done."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[-1], completed=done, detail=detail)
        elif done != self._last and (now - self._said >= PLAIN_EVERY_S or done == self._total):
            self._said, self._last = now, done
            pace = done / max(now - self._began, 1e-9)
            left = f", {(self._total - done) / pace:.0f} s left" if pace and done < self._total else ""
            said = f"{self.title}: {done}/{self._total} {self._unit}{left}{'  ' + detail if detail else ''}"
            notice(said, event="progress", done=done, total=self._total)
