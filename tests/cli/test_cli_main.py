"""Exit codes and messages at the outermost edge."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from rate import errors
from rate.cli import main
from rate.errors import BackendError, RateError, RunError, need


def failing_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    class Command:
        def main(self, *arguments: object, **settings: object) -> None:
            raise error

    monkeypatch.setattr(main, "command", Command)
    return main.run(["anything"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunError("the run"), 2),
        (BackendError("the device"), 4),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
        (typer.BadParameter("no such option"), 2),
    ],
)
def test_every_kind_of_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    assert failing_with(monkeypatch, error) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["show"], ["data", "check"], ["inspect"], ["export", "--out", "made"]], ids=" ".join)
def test_a_name_that_no_system_allows_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run([*verb, "x" * 5000]) == 2
    said = capsys.readouterr().err
    assert "xxx" in said
    assert len(said) < 500
    assert not list(tmp_path.iterdir()), "no report of a crash"


def test_a_defect_is_exit_code_4_with_its_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert failing_with(monkeypatch, ZeroDivisionError("a / 0")) == 4
    said = capsys.readouterr().err
    [crash] = tmp_path.iterdir()
    assert crash.name in said
    assert "ZeroDivisionError: a / 0" in crash.read_text()
    assert "Traceback" in crash.read_text()


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    def names(kind: type[BaseException]) -> set[str]:
        return {kind.__name__} | {name for child in kind.__subclasses__() for name in names(child)}

    drawn = errors.__doc__ or ""
    for name in names(RateError) - {"RuntimeFailure"}:
        assert name in drawn, name


def test_a_missing_extra_is_named_with_its_cure() -> None:
    with pytest.raises(errors.MissingExtra, match=r"pip install 'rate-engine\[cpu\]'"):
        need("no_such_runtime", "cpu")


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m rate schema | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["no-such-command"], ["eval"], ["eval", "a"]])
def test_usage_errors_are_exit_code_2(arguments: list[str]) -> None:
    assert main.run(arguments) == 2


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    main.run([])
    captured = capsys.readouterr()
    assert "eval" in captured.out + captured.err
