"""What is printed of names that others chose: no control of the terminal, no hidden text; JSON keeps its meaning."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from rate.cli.console import escaped, log_as_json, notice, print_json, results, say, visible
from rate.cli.main import run

EVIL = "\x1b[2J\x1b]0;title\x07a\rb\x9bc\u202ed\x7fe\u2028f"
GONE = ("\x1b", "\x07", "\r", "\x9b", "\u202e", "\x7f", "\u2028")


def check(text: str) -> None:
    assert not [character for character in GONE if character in text]
    assert "\ufffd" in text


@pytest.mark.parametrize("text", ["plain", "zwei Zeilen\n\tund 日本 é ✅", ""])
def test_what_can_be_seen_stays(text: str) -> None:
    assert visible(text) == escaped(text) == text


def test_text_notices_and_tables_are_made_visible(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    notice(EVIL)
    table = Table(EVIL)
    table.add_row(Text(EVIL))
    results().print(table)
    results().print(EVIL)
    shown = capsys.readouterr()
    check(shown.out)
    check(shown.err)


def test_json_means_the_same_and_holds_no_control(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({EVIL: [EVIL, "\U000e0001"]})
    log_as_json(True)
    notice(EVIL)
    log_as_json(False)
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {EVIL: [EVIL, "\U000e0001"]}
    assert json.loads(shown.err)["message"] == EVIL.strip()
    assert not [character for character in GONE if character in shown.out + shown.err]


COMMANDS = (
    "::error::x",
    "a\n::error::x",
    "a\n \t ::add-mask::x",
    "a ##[error]x",
    "##vso[task.complete]x",
    "###[x",
)


def commands(text: str) -> list[str]:
    """Lines that a runner of GitHub or Azure takes for a command, as their own parsers look for them."""
    return [line for line in text.splitlines() if line.lstrip().startswith("::") or "##[" in line or "##vso[" in line]


@pytest.mark.parametrize("text", COMMANDS)
def test_no_name_is_a_command_to_the_ci_that_reads_the_log(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(text)
    notice(text)
    results().print(Text(text))
    table = Table("name", box=None)
    table.add_row(text)
    results().print(table)
    print_json({text: [text]})
    log_as_json(True)
    notice(text)
    log_as_json(False)
    shown = capsys.readouterr()
    assert commands(shown.out + shown.err) == []
    assert json.loads(shown.out[shown.out.index("{") :]) == {text: [text]}
    assert json.loads(shown.err.splitlines()[-1])["message"] == text


@pytest.mark.parametrize("text", ["a::b", "# ## [x]", "std::vector", "12:30", "a\n:b"])
def test_what_is_no_command_stays(text: str) -> None:
    assert visible(text) == escaped(text) == text


def test_names_of_classes_files_and_heads_reach_no_terminal(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = shutil.copytree(trained.artifact, tmp_path / "artifact")
    path = Path(artifact) / "artifact.json"
    document = json.loads(path.read_text())
    document["heads"][0]["classes"] = ["dark", "light" + EVIL]
    path.write_text(json.dumps(document))
    assert run(["inspect", str(artifact)]) == 0
    check(capsys.readouterr().out)
    manifest = tmp_path / "m.jsonl"
    rows = [{"image": f"{EVIL}{k}.png", "label": EVIL, "boxes": []} for k in range(2)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["data", "check", str(manifest)]) == 2
    check(capsys.readouterr().out)
    assert run(["show", str(tmp_path / EVIL)]) == 2
    check(capsys.readouterr().err)
