"""An end of input inside a command is a defect, and never taken for a request to stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from rate.cli.main import run
from rate.errors import EXIT_FAILED


def test_an_end_of_file_error_is_not_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object) -> list[object]:
        raise EOFError("an empty file")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rate.doctor.diagnose", broken)
    assert run(["doctor"]) == EXIT_FAILED
    assert "an empty file" in capsys.readouterr().err
    assert "EOFError" in next(tmp_path.glob("rate-crash-*.txt")).read_text()
