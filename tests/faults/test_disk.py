"""Disks that are full, read-only, or gone: a clear message, nothing stored is lost, and the run goes on afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from eval_command import arguments
from PIL import Image
from stored_rows import differences, stored

from rate.backends.onnxruntime import OrtBackend
from rate.cli.main import run
from rate.runs.run_document import read_run


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
def a_part_a_sample(parts_of: Callable[[int], None]) -> None:
    parts_of(1)


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
    assert read_run(out).sessions[-1].samples == 8 - len(before), "what was stored is not done again"


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


def on_the_disk(trained, undisturbed: Path, disk: Path) -> dict[str, list[str]]:
    artifact, manifest = str(trained.artifact), str(trained.manifest)
    image = str(trained.manifest.parent / "0.png")
    lp = ["finetune", "lp", "timm:test_efficientnet", manifest, "--split", "test", "--epochs", "1", "--threads", "1"]
    gate = ["gate", str(undisturbed), "--policy", str(disk / "gate.toml")]
    bench = ["bench", artifact, "--backend", "onnxruntime", "--precision", "f32", "--batch", "8", "--masks", "8"]
    return {
        "export": ["export", str(trained.checkpoint), "--out", str(disk / "new")],
        "finetune": [*lp, "--out", str(disk / "new")],
        "synth": ["data", "synth", "--out", str(disk / "new"), "--train", "9", "--test", "9", "--size", "256"],
        "pack": ["data", "pack", manifest, "--out", str(disk / "new")],
        "index": ["data", "index", "folder", str(disk / "set"), "--masks", str(disk / "set"), "--mask-pattern",
                  "{stem}_m.png", "--out", str(disk / "new.csv")],
        "explain": ["explain", artifact, image, "--out", str(disk / "new.png"), "--masks", "16", "--threads", "1"],
        "report": ["report", str(undisturbed), "--out", str(disk / "new.html")],
        "gate, JUnit": [*gate, "--junit", str(disk / "new.xml")],
        "gate, Markdown": [*gate, "--markdown", str(disk / "new.md")],
        "bench": [*bench, "--rounds", "1", "--csv", str(disk / "new.csv")],
        "merge": ["merge", str(undisturbed), "--out", str(disk / "new")],
    }  # fmt: skip


COMMANDS = tuple(on_the_disk(SimpleNamespace(artifact=0, checkpoint=0, manifest=Path()), Path(), Path()))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_message_with_the_place_and_leaves_nothing(
    trained, undisturbed: Path, disk: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (disk / "gate.toml").write_text('[[check]]\nmetric = "undefined"\nmax = 1\nuse = "value"\n' * 1)
    (disk / "set" / "a").mkdir(parents=True)
    for k in range(2):
        shutil.copy(trained.manifest.parent / "0.png", disk / "set" / "a" / f"{k}.png")
        Image.new("L", (80, 80), 255).save(disk / "set" / "a" / f"{k}_m.png")
    fill(disk, 0)
    before = {path for path in disk.rglob("*")}
    assert run(on_the_disk(trained, undisturbed, disk)[name]) == 4
    said = capsys.readouterr().err
    assert f"{disk}/new" in said
    assert "No space left on device" in said
    assert "ake room" in said
    assert "defect" not in said
    assert ".rate-" not in said, "no name that nobody has chosen"
    assert set(disk.rglob("*")) == before
    assert not list(tmp_path.glob("rate-crash*"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_that_cannot_be_written_at_all_is_refused_before_any_work(
    trained, undisturbed: Path, disk: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (disk / "gate.toml").write_text('[[check]]\nmetric = "undefined"\nmax = 1\nuse = "value"\n')
    (disk / "set" / "a").mkdir(parents=True)
    mount("-o", "remount,ro", str(disk))
    assert run(on_the_disk(trained, undisturbed, disk)[name]) == 2
    said = capsys.readouterr().err
    assert f"{disk}/new" in said
    assert "Read-only file system" in said
    assert not list(tmp_path.glob("rate-crash*"))
