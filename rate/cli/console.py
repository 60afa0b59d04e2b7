"""The output of commands: results to stdout, progress and notices to stderr.

Names come from untrusted files, so they are sanitised: they must not control the terminal or a CI that reads the log.
"""

from __future__ import annotations

import json
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

from rate.copies import by_url
from rate.credentials import without_credentials

if TYPE_CHECKING:
    from rich.progress import Progress


_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, formats (such as right-to-left marks), surrogates, separators of lines and paragraphs.
"""

_LINE_COMMAND = re.compile(r"^(\s*):(?=:)", re.MULTILINE)
"""Commands of GitHub's runner, `::error::...` at the beginning of a line after any white space."""

_COMMAND = re.compile(r"#(?=#(?:vso)?\[)")
"""Commands of GitHub's and Azure's runners, `##[error]...` and `##vso[...]` anywhere in a line."""


def visible(text: str) -> str:
    """Replace hidden characters and the beginnings of commands by U+FFFD; line feeds and tabs are kept."""
    shown = _replaced(text, lambda character: "\ufffd")
    return _COMMAND.sub("\ufffd", _LINE_COMMAND.sub("\\1\ufffd", shown))


def escaped(text: str) -> str:
    """Escape hidden characters and the beginnings of commands in JSON, whose lines never begin with a name."""
    return _COMMAND.sub(r"\\u0023", _replaced(text, lambda character: json.dumps(character)[1:-1]))


def _replaced(text: str, by: Callable[[str], str]) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _HIDDEN else by(c) for c in text)


class VisibleOnly(RenderHook):
    """Makes a console of rich print visible text only; the styles are its own."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Return the renderables, each through `visible` and `without_credentials`."""
        return [_Visible(renderable) for renderable in renderables]


class _Visible:
    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        for segment in console.render(self._inner, options):
            text = visible(without_credentials(segment.text))
            yield segment if segment.control else Segment(text, segment.style)


PLAIN_EVERY_S = 10.0
_WIDEST = 10_000  # cells of a line where there is no terminal: no table is cut


def results() -> Console:
    """Return the console of results, which writes plain text of any width if stdout is not a terminal.

    Names are printed literally: `[red]` in one is no style, and `:cat:` no picture.
    """
    plain = not sys.stdout.isatty()
    console = Console(soft_wrap=plain, width=_WIDEST if plain else None, highlight=False, markup=False, emoji=False)
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


LogJson = Annotated[
    bool,
    typer.Option(
        "--log-json",
        help="Progress and notices as lines of JSON.",
        rich_help_panel="Output",
        callback=log_as_json,
        is_eager=True,
    ),
]
"""The option `--log-json` of a command."""


def notice(message: str, level: str = "info", **fields: Any) -> None:
    """Print a notice, which is not a result; ``fields`` are for JSON lines only."""
    message = by_url(without_credentials(message))
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
    """Progress with a rate and the time left: bars on a terminal, a line every few seconds elsewhere."""

    def __init__(self, title: str = "", total: int = 0, unit: str = "images") -> None:
        """Begin with ``total`` steps of the work ``title``; without a title `stage` begins."""
        self._bar: Progress | None = None
        self.title, self._total, self._unit = title, total, unit

    def __enter__(self) -> Steps:
        if self.title:
            self.begin(self.title, self._total, self._unit)
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, title: str, total: int, unit: str = "images") -> None:
        """Go on with another piece of work, below the one before."""
        self.title, self._total, self._unit = title, total, unit
        self._began = self._said = time.monotonic()
        self._last = 0
        if self._bar is None and sys.stderr.isatty() and not _LOG.as_json:
            self._bar = _bar()
            self._bar.start()
        if self._bar is not None:
            self._bar.add_task(title, total=total, detail="")

    def stage(self, title: str, total: int, unit: str, done: int, detail: str = "") -> None:
        """Show that ``done`` of ``total`` are done of the work ``title``, which begins if another was shown before."""
        if title != self.title:
            self.begin(title, total, unit)
        self.show(done, detail)

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


def _bar() -> Progress:
    from rich import progress

    title, detail = (
        progress.TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[detail]}")
    )
    middle = progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeRemainingColumn()
    return progress.Progress(title, *middle, detail, console=Console(stderr=True))
