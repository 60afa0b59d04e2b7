"""Names come from files that others wrote: nothing in them may speak to the terminal, or to a CI that reads the log."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

from rate.credentials import without_credentials

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Of Unicode: controls, formats (right-to-left marks among them), surrogates, separators of lines and paragraphs."""

_LINE_COMMAND = re.compile(r"^(\s*):(?=:)", re.MULTILINE)
"""Of GitHub's runner, `::error::...` at the beginning of a line, whatever white space is before it."""

_COMMAND = re.compile(r"#(?=#(?:vso)?\[)")
"""Of GitHub's and Azure's runners, `##[error]...` and `##vso[...]` anywhere in a line."""


def visible(text: str) -> str:
    """The text for a terminal or a log: what is hidden, and what begins a command, becomes U+FFFD; line feeds and tabs
    stay."""
    shown = _replaced(text, lambda character: "\ufffd")
    return _COMMAND.sub("\ufffd", _LINE_COMMAND.sub("\\1\ufffd", shown))


def escaped(text: str) -> str:
    """JSON for a terminal or a log, no line of which begins with a name: what is hidden, and what begins a command,
    becomes an escape, which means the same."""
    return _COMMAND.sub(r"\\u0023", _replaced(text, lambda character: json.dumps(character)[1:-1]))


def _replaced(text: str, by: Callable[[str], str]) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _HIDDEN else by(c) for c in text)


class VisibleOnly(RenderHook):
    """Makes a console of rich print visible text, whatever it is given; the styles are its own."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """The same, each through `visible` and `without_credentials`."""
        return [_Visible(renderable) for renderable in renderables]


class _Visible:
    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        for segment in console.render(self._inner, options):
            text = visible(without_credentials(segment.text))
            yield segment if segment.control else Segment(text, segment.style)
