"""Sanitising of names from untrusted files, which must not control the terminal or a CI that reads the log."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

from rate.credentials import without_credentials

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
