"""A command has the options of the settings that it takes, and what it is told arrives in them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from rate.bench.settings import BenchSettings
from rate.cli.main import command, run
from rate.cli.options import Config, Shown, name_variables, with_settings
from rate.config import Measurement
from rate.execution import Execution
from rate.export.options import ExportOptions
from rate.finetune.settings import FlcpSettings, FtSettings, LpSettings
from rate.option import Settings, option, options_of, separated
from rate.reading import MASKS, Reading


@dataclass(frozen=True, slots=True)
class Size(Settings):
    """Fields of every sort."""

    width: int = option(1, "Pixels.")
    names: tuple[str, ...] | None = option(("a", "b"), parse=separated(str), expected="names")
    shares: tuple[float, ...] | None = option(None, parse=separated(float), expected="shares")
    wide: bool = option(False)
    folder: Path | str | None = option(None)
    hidden: int = 7


FOUND: list[Any] = []


@with_settings
def whole(*, size: Size, config: Config = None, other: int = 3) -> None:
    """Takes all of them."""
    FOUND.append((size, other))


@with_settings
def narrow(size: Annotated[Size, Shown(only=("width",))]) -> None:
    """Takes one of them."""
    FOUND.append(size)


def ask(*arguments: str) -> Any:
    """What a command with those settings gets."""
    app = typer.Typer()
    app.command()(whole)
    app.command()(narrow)
    group = typer.main.get_command(app)
    name_variables(group)
    group.main(list(arguments), standalone_mode=False)
    return FOUND.pop()


def test_options_fill_the_fields_and_the_rest_keeps_its_default() -> None:
    assert ask("whole") == (Size(), 3)
    given = ("--width", "5", "--names", "c, d", "--shares", "0.5", "--wide", "--folder", "x", "--other", "9")
    assert ask("whole", *given) == (Size(5, ("c", "d"), (0.5,), True, Path("x"), 7), 9)


def test_only_the_chosen_fields_are_options() -> None:
    assert ask("narrow", "--width", "4") == Size(4)
    with pytest.raises(Exception, match="--wide"):
        ask("narrow", "--wide")
    with pytest.raises(Exception, match="--hidden"):
        ask("whole", "--hidden", "3")


def test_a_parameter_of_the_same_name_stands_in_the_place_of_a_field_and_fills_it() -> None:
    found: list[Size] = []

    @with_settings
    def wider(*, width: int = 8, size: Size) -> None:
        found.append(size)
        assert width == size.width

    app = typer.Typer()
    app.command()(wider)
    for arguments in ([], ["--width", "9"]):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert found == [Size(8), Size(9)]


def test_flag_beats_variable_beats_file_beats_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[whole]\nwidth = 2\nnames = "f,g"\n')
    config = ("--config", str(file))
    assert ask("whole")[0].width == 1
    assert ask("whole", *config)[0] == Size(2, ("f", "g"))
    monkeypatch.setenv("RATE_WHOLE_WIDTH", "3")
    monkeypatch.setenv("RATE_WHOLE_NAMES", "e")
    assert ask("whole", *config)[0] == Size(3, ("e",))
    assert ask("whole", *config, "--width", "4")[0].width == 4


COMMANDS = [
    (("eval",), Measurement, ()),
    (("eval",), Execution, ()),
    (("explain",), Measurement, ("fills", "seed")),
    (("explain",), Execution, ("threads", "device")),
    (("export",), ExportOptions, ()),
    (("bench",), BenchSettings, ()),
    (("finetune", "lp"), LpSettings, ()),
    (("finetune", "ft"), FtSettings, ()),
    (("finetune", "flcp"), FlcpSettings, ()),
    (("eval",), Reading, MASKS),
    (("explain",), Reading, MASKS),
    (("finetune", "lp"), Reading, MASKS),
    (("data", "check"), Reading, MASKS),
    (("data", "pack"), Reading, MASKS),
]


@pytest.mark.parametrize(("path", "kind", "only"), COMMANDS)
def test_every_field_is_an_option_with_its_default_and_its_help(
    path: tuple[str, ...], kind: type[Settings], only: tuple[str, ...]
) -> None:
    one = command()
    for word in path:
        one = one.commands[word]
    there = {parameter.name: parameter for parameter in one.params}
    options, defaults = options_of(kind), {field.name: field.default for field in fields(kind)}
    for name in only or options:
        default = defaults[name]
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        assert str(there[name].default) == str(shown)
        assert options[name].in_words().replace("[", "") == there[name].help.replace("\\[", "").replace("[", "")


@pytest.mark.parametrize("how", ["flag", "variable", "file"])
def test_a_misspelt_value_is_answered_with_the_choices(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('evidence = "positiv"\n' if how == "file" else "")
    if how == "variable":
        monkeypatch.setenv("RATE_EVAL_EVIDENCE", "positiv")
    more = ["--evidence", "positiv"] if how == "flag" else []
    assert run(["eval", "a", "b", "--out", str(tmp_path / "run"), "--config", str(config), *more]) == 2
    said = capsys.readouterr().err
    assert "'positiv'" in said
    assert "positive, minmax, raw" in said
    assert "did you mean positive" in said


def test_a_misspelt_option_is_answered_with_the_one_that_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "a", "b", "--out", "c", "--evidense", "raw"]) == 2
    assert "--evidence" in capsys.readouterr().err.replace("--evidense", "")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("rate eval a b --evidence m", ["minmax"]),
        ("rate export x --precision ", ["f32", "fp16", "bf16", "int8", "auto"]),
    ],
)
def test_the_shell_completes_choices(typed: str, offered: list[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split(" ")) - 1), "_RATE_COMPLETE": "complete_bash"}
    code = "from rate.cli.main import command; command().main(prog_name='rate')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | words, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == offered, done.stderr
