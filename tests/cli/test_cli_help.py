"""Help and tables print texts as they are written: brackets are no markup, colons no pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from rich.table import Table

from rate.cli.console import results
from rate.cli.main import app, command, run
from rate.cli.main import typer as cli_typer


def verbs(one: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that name it."""
    yield path, one
    for name, inner in getattr(one, "commands", {}).items():
        yield from verbs(inner, (*path, name))


WRITTEN = dict(verbs(cli_typer.main.get_command(app)))


def words(text: str) -> list[str]:
    return re.sub(r"[│╭╮╰╯─]", " ", text).split()


@pytest.mark.parametrize("path", WRITTEN, ids=" ".join)
def test_help_shows_every_text_as_it_is_written(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 1000)
    assert run([*path, "--help"]) == 0
    shown = " ".join(words(capsys.readouterr().out))
    one = WRITTEN[path]
    for text in (one.help, *(parameter.help for parameter in one.params)):
        assert " ".join(words(text or "")) in shown


def test_a_help_text_with_brackets_is_among_those() -> None:
    texts = [parameter.help or "" for one in WRITTEN.values() for parameter in one.params]
    assert any("[[x0,y0,x1,y1], ...]" in text for text in texts)
    assert command() is command()  # escaped once, not again and again


def test_names_in_tables_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("[bold]head")
    table.add_row("[red]cat[/red] :cat: [link=x]")
    results().print(table)
    results().print("[a]")
    shown = capsys.readouterr().out
    for name in ("[bold]head", "[red]cat[/red] :cat: [link=x]", "[a]"):
        assert name in shown
