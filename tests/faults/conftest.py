"""An uninterrupted run, with which the damaged ones are compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from eval_command import arguments
from stored_rows import stored

from rate.cli.main import run
from rate.engine.evaluate import evaluate


@pytest.fixture(scope="session")
def undisturbed(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert run(arguments(trained, out)) == 0
    assert {row["valid"] for row in stored(out)} == {True, False}, "verdicts that could differ"
    return out


@pytest.fixture
def parts_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the command close a part at so many rows."""
    return lambda rows: monkeypatch.setattr(
        "rate.engine.evaluate.evaluate", partial(evaluate, part_rows=rows, sorted_rows=rows)
    )
