"""`rate compare` from the command line, over real and over written runs."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import jsonschema
import pytest
from paired_runs import write_run

from rate.cli.main import run

FEW = ("--batch", "8", "--threads", "1", "--backend", "onnxruntime")
FIRST, SECOND = ["rr"] * 12 + ["rw"] * 4, ["rr"] * 8 + ["rw"] * 8


def test_real_runs_end_to_end(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["eval", str(trained.artifact), str(trained.manifest), "--masks", "24", *FEW, "--out"]
    one, other = tmp_path / "one", tmp_path / "other"
    assert run([*base, str(one)]) == 0
    assert run([*base, str(other)]) == 0
    capsys.readouterr()
    assert run(["compare", str(one), f"{other}@lp", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert run(["schema", "comparison"]) == 0
    jsonschema.validate(found, json.loads(capsys.readouterr().out))
    assert found["pairs"][0]["paired"] == 8
    assert found["pairs"][0]["changed"] == []
    assert (found["pairs"][0]["units"], found["pairs"][0]["clusters"]) == ("samples", 4)
    assert found["pairs"][0]["differences"]["accuracy"]["value"] == 0
    assert "one@lp and other@lp have the same weights" in said.err


def test_masks_that_differ_are_refused(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for masks in ("10", "12"):
        out = str(tmp_path / masks)
        assert run(["eval", str(trained.artifact), str(trained.manifest), "--masks", masks, *FEW, "--out", out]) == 0
    assert run(["compare", str(tmp_path / "10"), str(tmp_path / "12")]) == 2
    assert "measurement.masks: 10 in 10@lp, 12 in 12@lp" in capsys.readouterr().err


def test_results_go_to_stdout_and_notices_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", {"zs": FIRST, "lp": SECOND}, status="partial")
    assert run(["compare", str(folder), "--changed", "1"]) == 0
    said = capsys.readouterr()
    for text in ("run@zs -> run@lp: 16 images", "4 of 16 images changed; the first 1:", "PT", "McNemar p"):
        assert text in said.out
    assert "is partial" in said.err
    assert "is partial" not in said.out


def test_a_named_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", {"zs": FIRST, "lp": SECOND})
    assert run(["compare", f"{folder}@zs", "--baseline", f"{folder}@lp", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["baseline"], found["pairs"][0]["second"]) == ("run@lp", "run@zs")
    assert found["pairs"][0]["differences"]["pt"]["value"] == 0.25


def test_clusters_can_be_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", {"zs": FIRST, "lp": SECOND}, clusters=[f"c{k % 12}" for k in range(16)])
    assert run(["compare", str(folder), "--json"]) == 0
    by_cluster = json.loads(capsys.readouterr().out)["pairs"][0]
    assert (by_cluster["units"], by_cluster["clusters"]) == ("clusters", 12)
    assert run(["compare", str(folder), "--json", "--ignore-clusters"]) == 0
    by_sample = json.loads(capsys.readouterr().out)["pairs"][0]
    assert (by_sample["units"], by_sample["clusters"]) == ("samples", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["{run}@zs"], "needs two heads or more"),
        (["{run}@zs", "{run}@ft"], "has no head 'ft'; it has zs, lp"),
        (["{run}", "absent"], "absent is not a run folder"),
        (["{run}", "--baseline", "{run}"], "has 2 heads and one is needed"),
        (["{run}", "--changed", "-1"], "--changed"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    folder = write_run(tmp_path / "run", {"zs": FIRST, "lp": SECOND})
    assert run(["compare", *(text.format(run=folder) for text in arguments)]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert not said.out


def test_no_name_is_cut_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", {"zs": FIRST, "lp": SECOND}, verdict="swap")
    assert run(["compare", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[5:8]] == ["accuracy, judged", "object-only", "background-only"]


def test_nothing_is_cut_on_a_terminal_of_80_columns(tmp_path: Path) -> None:
    before, after = ["rr"] * 900 + ["rw"] * 600, ["rr"] * 700 + ["rw"] * 500 + ["wr"] * 300
    folders = [
        str(write_run(tmp_path / name, {"lp": own}, verdict="swap")) for name, own in (("a", before), ("b", after))
    ]
    reader, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(reader, "rb", buffering=0) as screen:
        command = [sys.executable, "-m", "rate", "compare", *folders, "--changed", "1"]
        child = subprocess.Popen(command, stdout=terminal, stderr=terminal)
        os.close(terminal)
        said = b""
        try:
            while part := screen.read(65_536):
                said += part
        except OSError:  # the other end is closed
            pass
    assert child.wait(60) == 0
    text = re.sub(r"\x1b\[\d*m", "", said.decode())
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for title in ("accuracy, judged", "object-only", "background-only", "gap", "(1200/1500)", "-0.042 to +0.009"):
        assert title in text
