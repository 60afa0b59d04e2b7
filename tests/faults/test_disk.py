"""Disks that are full, read-only, or gone: a clear message, nothing stored is lost, and the run goes on afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from eval_command import arguments
from stored_rows import differences, stored

from rate.backends.onnxruntime import OrtBackend
from rate.cli.main import run
from rate.runs import parts
from rate.runs.store import read_run


def mount(*options: str) -> None:
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk of its own for this test: mount is refused here ({done.stderr.strip()})")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    if shutil.which("mount") is None:
        pytest.skip("no disk of its own for this test: there is no mount command")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def a_part_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 1)


def fill(disk: Path, leave: int) -> Path:
    """Take up all but so many bytes."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast.write_bytes(b"\xff" * (free - leave))
    return ballast


@pytest.mark.parametrize("leave", [0, 20_000, 100_000], ids=["at the start", "at the first part", "half way"])
def test_a_full_disk_stops_a_run_that_goes_on_with_more_room(
    trained, undisturbed: Path, disk: Path, a_part_a_sample, capsys: pytest.CaptureFixture[str], leave: int
) -> None:
    ballast, out = fill(disk, leave), disk / "run"
    assert run(arguments(trained, out)) == 4
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "ake room" in said
    before = [row["id"] for row in stored(out)] if (out / "run.json").exists() else []
    assert len(before) < 8
    assert (len(before) > 0) == (leave == 100_000)
    ballast.unlink()
    assert run(arguments(trained, out)) == 0
    assert not differences(undisturbed, out).any
    assert read_run(out)["sessions"][-1]["samples"] == 8 - len(before), "what was stored is not done again"


def test_a_full_disk_of_workers(trained, undisturbed: Path, disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ballast, out = fill(disk, 24_000), disk / "run"
    assert run(arguments(trained, out, "--workers", "2")) == 4
    assert "No space left on device" in capsys.readouterr().err
    ballast.unlink()
    assert run(arguments(trained, out)) == 0
    assert not differences(undisturbed, out).any


@pytest.mark.parametrize("begun", [False, True])
def test_a_read_only_disk_is_refused_before_any_work(
    trained, undisturbed: Path, disk: Path, capsys: pytest.CaptureFixture[str], begun: bool
) -> None:
    out = disk / "run"
    if begun:
        shutil.copytree(undisturbed, out)
    mount("-o", "remount,ro", str(disk))
    assert run(arguments(trained, out)) == 2
    assert "run cannot be written to (Read-only file system); choose another --out" in capsys.readouterr().err
    if begun:
        assert run(["status", str(out)]) == 0
        assert run(["show", str(out)]) == 0


def after(calls: int, happens: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something happen after so many batches."""
    whole, seen = OrtBackend._run, [0]

    def counted(backend: OrtBackend, feeds: dict) -> object:
        seen[0] += 1
        if seen[0] == calls:
            happens()
        return whole(backend, feeds)

    monkeypatch.setattr(OrtBackend, "_run", counted)


def test_a_folder_that_vanishes_stops_the_run(
    trained, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_part_a_sample,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "run"
    after(8, lambda: shutil.rmtree(out), monkeypatch)
    assert run(arguments(trained, out)) == 4
    said = capsys.readouterr().err
    assert "deleted" in said
    assert str(out) in said
    assert not out.exists(), "nothing is written where nobody looks"
    monkeypatch.undo()
    assert run(arguments(trained, out)) == 0
    assert not differences(undisturbed, out).any
