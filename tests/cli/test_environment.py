"""The environment sets options of verbs and never ends a command before it began; a misspelt variable is named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from gate_runs import states, write_run

import rate
from rate.cli.main import command, run
from rate.cli.options import unread

ROOT = Path(rate.__file__).parent.parent
FAILING = '[[check]]\nmetric = "pt"\nmin = 0.9\n'


@pytest.fixture
def failing(tmp_path: Path) -> list[str]:
    """A gate that fails."""
    folder = write_run(tmp_path / "run", {"ft": states(rr=10, rw=90)})
    (tmp_path / "gate.toml").write_text(FAILING)
    return ["gate", str(folder), "--policy", str(tmp_path / "gate.toml")]


def test_no_variable_ends_a_gate_before_it_decided(failing: list[str], tmp_path: Path) -> None:
    """In a process of its own, with a home that a completion would be installed in."""
    home = tmp_path / "home"
    home.mkdir()
    names = ("RATE_VERSION", "RATE_HELP", "RATE_GATE_HELP", "RATE_INSTALL_COMPLETION", "RATE_SHOW_COMPLETION")
    environment = os.environ | dict.fromkeys(names, "1") | {"HOME": str(home), "SHELL": "/bin/bash"}
    done = subprocess.run(
        [sys.executable, "-m", "rate", *failing], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1].startswith("gate failed")
    assert all(name in done.stderr for name in names)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("name", ["RATE_GATE_POLICY", "RATE_GATE_BASELINE"])
def test_options_of_a_verb_are_read_from_the_environment(
    failing: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    option = f"--{name.rsplit('_', 1)[1].lower()}"
    given = dict(zip(failing[2::2], failing[3::2], strict=True)) | {"--baseline": failing[1]}
    monkeypatch.setenv(name, given.pop(option))
    assert run([*failing[:2], *(word for pair in given.items() for word in pair), "--json"]) == 1
    captured = capsys.readouterr()
    assert '"baseline": {' in captured.out
    assert name not in captured.err


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RATE_SEED", "RATE_EVAL_SEED"),
        ("RATE_EVAL_SEDE", "RATE_EVAL_SEED"),
        ("RATE_GATE_BASELNE", "RATE_GATE_BASELINE"),
        ("RATE_MAX_BYTE", "RATE_MAX_BYTES"),
        ("RATE_DATA_CORRUPT_SED", "RATE_DATA_CORRUPT_SEED"),
        ("RATE_XYZZY_PLUGH", "RATE_EVAL_SEED"),
    ],
)
def test_a_variable_that_nothing_reads_is_named_once_with_what_may_be_meant(
    failing: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "secret")
    assert run(failing) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if name in line]
    assert meant in line
    assert "secret" not in line


def test_every_variable_that_the_sources_and_documents_name_is_known() -> None:
    places = [path for room in ("rate", "benchmarks", "docs") for path in (ROOT / room).rglob("*.[pm][yd]")]
    named = {name for path in places for name in re.findall(r"\bRATE_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8"))}
    named -= {"RATE_COMMAND_OPTION"}  # of a message
    assert {"RATE_CACHE", "RATE_CACHE_BYTES", "RATE_MAX_BYTES", "RATE_MAX_PIXELS", "RATE_REMOTE_SECONDS"} <= named
    assert list(unread(command(), named | {"RATE_TEST_DATA", "RATE_EVAL_MASKS", "STARRATE_X"})) == []
