"""The exit code and the files of a gate are those of its decision, whoever reads what it prints."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from gate_runs import states, write_run

from rate.cli.main import run

CODES = {"passed": 0, "failed": 1, "inconclusive": 3}
BOUNDS = {"passed": 0.5, "failed": 0.99, "inconclusive": 0.9}


def gate(folder: Path, verdict: str, redirected: str, *options: str) -> subprocess.CompletedProcess[str]:
    """The gate in a shell, which exits with the code of the gate whatever the code of what it is piped into."""
    if not (folder / "run").exists():
        write_run(folder / "run", {"ft": states(rr=90, rw=10)})
    (folder / "gate.toml").write_text(f'[[check]]\nmetric = "pt"\nmin = {BOUNDS[verdict]}\n')
    words = [sys.executable, "-m", "rate", "gate", "run", "--policy", "gate.toml", "--junit", "g.xml", *options]
    script = f"{shlex.join(words)} --markdown g.md {redirected}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("verdict", "form", "redirected"),
    [
        ("passed", "", ">&- 2>&-"),
        ("failed", "", "2>&1 >/dev/null | true"),
        ("failed", "--json", "2>&-"),
        ("inconclusive", "--json", "2>&1 | true"),
    ],
)
def test_closed_streams_change_neither_the_exit_code_nor_the_files(
    tmp_path: Path, verdict: str, form: str, redirected: str
) -> None:
    done = gate(tmp_path, verdict, redirected, *form.split())
    assert done.returncode == CODES[verdict], done.stderr
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr
    properties = {one.get("name"): one.get("value") for one in ET.parse(tmp_path / "g.xml").getroot().iter("property")}
    assert properties["verdict"] == verdict
    assert verdict in (tmp_path / "g.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.md", "g.xml", "gate.toml", "run"]


def test_a_table_longer_than_a_pipe_whose_reader_leaves_midway(tmp_path: Path) -> None:
    labels = [f"class {k} {'x' * 60}" for k in range(2000)]
    write_run(tmp_path / "run", {"ft": states(rr=1800, rw=200)}, labels=labels)
    check = '[[check]]\nmetric = "pt"\nmin = 0.5\n'
    (tmp_path / "gate.toml").write_text(check + check + 'slice = "class"\nname = "each"\nseverity = "warn"\n')
    words = [sys.executable, "-m", "rate", "gate", "run", "--policy", "gate.toml", "--junit", "g.xml"]
    script = f"{shlex.join(words)} | head -c 100; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stdout), done.stderr) == (0, 100, "")
    assert len(list(ET.parse(tmp_path / "g.xml").getroot().iter("testcase"))) == 2001


@pytest.mark.parametrize(("option", "redirected"), [("--min 3", "2>&1 | true"), ("--baseline absent", ">&- 2>&-")])
def test_what_cannot_be_decided_is_never_exit_code_0_or_1(tmp_path: Path, redirected: str, option: str) -> None:
    done = gate(tmp_path, "passed", redirected, *option.split())
    assert done.returncode == 2
    assert not (tmp_path / "g.xml").exists()


def test_an_unread_notice_about_a_variable_does_not_end_a_gate(tmp_path: Path) -> None:
    """It is said before anything is decided, to a stderr that nobody reads."""
    write_run(tmp_path / "run", {"ft": states(rr=90, rw=10)})
    (tmp_path / "gate.toml").write_text('[[check]]\nmetric = "pt"\nmin = 0.99\n')
    script = f"RATE_SEED=1 {shlex.quote(sys.executable)} -m rate gate run --policy gate.toml 2>&1 >/dev/null | true"
    done = subprocess.run(["bash", "-c", f"{script}; exit ${{PIPESTATUS[0]}}"], cwd=tmp_path, check=False)
    assert done.returncode == 1


def test_stdout_on_a_full_disk_is_exit_code_4_and_the_files_are_there(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = gate(tmp_path, "passed", ">/dev/full")
    assert done.returncode == 4
    assert "stdout cannot be written: No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("rate-crash*"))
    assert (tmp_path / "g.xml").exists()


EVIL = "a\n::error::x ##[error]y"


def test_no_name_in_a_run_is_a_command_to_the_ci(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of classes, heads and folders: in results, notices and refusals."""
    folder = tmp_path / EVIL
    heads = {EVIL: states(rr=90, rw=10), "zs": states(rr=90, rw=10)}
    write_run(folder, heads, labels=[EVIL, "b"] * 50, status="partial")
    check = '[[check]]\nmetric = "pt"\nmin = 0.99\nslice = "class"\n'
    (tmp_path / "gate.toml").write_text(check)
    for reference, code in ((f"{folder}@{EVIL}", 1), (str(folder), 2), (f"{folder}@{EVIL} ", 2)):
        assert run(["gate", "--policy", str(tmp_path / "gate.toml"), reference, "--allow-partial"]) == code
        lines = "".join(capsys.readouterr()).splitlines()
        assert len(lines) > 0
        assert not [line for line in lines if line.lstrip().startswith("::") or "##[" in line], lines
