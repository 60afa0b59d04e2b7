"""Settings are the options of the same names; none is left at its default because a command forgot it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import typer
from typer.testing import CliRunner

from rate.cli.settings import settings_of


@dataclass(frozen=True)
class Settings:
    size: int = 1
    name: str = ""


def ask(*arguments: str, forgets: bool = False) -> list[Settings]:
    app, found = typer.Typer(), list[Settings]()

    @app.command()
    def whole(context: typer.Context, size: int = 2, other: int = 3) -> None:
        found.append(settings_of(Settings, context, **({} if forgets else {"name": f"made of {other}"})))

    CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return found


def test_options_fill_the_fields_of_their_names() -> None:
    assert ask() == [Settings(2, "made of 3")]
    assert ask("--size", "7", "--other", "8") == [Settings(7, "made of 8")]


def test_a_field_without_an_option_is_a_defect() -> None:
    with pytest.raises(KeyError, match="name"):
        ask(forgets=True)
