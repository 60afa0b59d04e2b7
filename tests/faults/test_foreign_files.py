"""No command deletes or replaces a file that it did not write, whatever folder it is pointed at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eval_command import arguments

from rate.cli.main import run

HOLIDAYS = ("samples/holiday.jpg", "maps/part-1.parquet", "lock/key", "plans/house.plan", "thesis.tex")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of somebody, in whose folders are names that `rate` uses too."""
    home = tmp_path / "home"
    for folder in ("run", "artifact", "checkpoint", "grid", "full"):
        for name in HOLIDAYS:
            (home / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (home / folder / name).write_text(f"mine: {folder}/{name}")
    (home / "artifact" / "artifact.json").write_text(json.dumps({"schema": "rate.artifact/1", "files": {}}))
    (home / "checkpoint" / "checkpoint.json").write_text("mine, too")
    (home / "grid" / "grid.json").write_text('{"cells": 3}')
    (home / "only samples" / "samples").mkdir(parents=True)
    (home / "only samples" / "samples" / "holiday.jpg").write_text("mine")
    (home / "linked").mkdir()
    (home / "linked" / "samples").symlink_to(home / "only samples" / "samples")
    (home / "report.html").write_text("mine")
    (home / "coco-masks").mkdir()
    (home / "coco-masks" / "1-3.png").write_text("mine")
    return home


def contents(folder: Path) -> dict[str, bytes | str]:
    """Of every file, and where every link leads."""
    return {
        path.relative_to(folder).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def commands(trained, undisturbed: Path, home: Path) -> dict[str, list[str]]:
    artifact, manifest = str(trained.artifact), str(trained.manifest)
    finetune = ["finetune", "lp", "timm:test_efficientnet", manifest, "--split", "test", "--epochs", "1"]
    coco = ["data", "index", "coco", str(home / "coco.json"), "--images", str(home), "--regions", "masks"]
    return {
        "eval": arguments(trained, home / "run"),
        "eval into samples alone": arguments(trained, home / "only samples"),
        "eval into a link": arguments(trained, home / "linked"),
        "eval, repair": arguments(trained, home / "run", "--repair"),
        "eval, grid": arguments(trained, home / "grid", "--corrupt", "clean,fog:1"),
        "export": ["export", str(trained.checkpoint), "--out", str(home / "artifact"), "--force"],
        "finetune": [*finetune, "--out", str(home / "checkpoint"), "--force"],
        "merge": ["merge", str(undisturbed), "--out", str(home / "full")],
        "report": ["report", str(undisturbed), "--out", str(home / "report.html")],
        "explain": ["explain", artifact, str(manifest), "--out", str(home / "full")],
        "pack": ["data", "pack", manifest, "--out", str(home / "full")],
        "synth": ["data", "synth", "--out", str(home / "full"), "--train", "2", "--test", "2"],
        "coco": [*coco, "--out", str(home / "coco.csv")],
        "demo": ["demo", "--out", str(home / "full")],
    }


def annotate(home: Path) -> None:
    picture = {"id": 1, "file_name": "full/samples/holiday.jpg", "width": 8, "height": 8}
    one = {"id": 1, "image_id": 1, "category_id": 3, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}
    document = {"images": [picture], "categories": [{"id": 3, "name": "beach"}], "annotations": [one]}
    (home / "coco.json").write_text(json.dumps(document))


def test_what_a_command_did_not_write_stays(trained, undisturbed: Path, home: Path, monkeypatch) -> None:
    monkeypatch.chdir(home)
    annotate(home)
    before = contents(home)
    codes = {}
    for name, words in commands(trained, undisturbed, home).items():
        codes[name] = run(words)
        assert contents(home) == before, name
    assert codes == dict.fromkeys(codes, 2), "each is refused as a request, none fails half way"


def test_a_training_that_is_over_takes_nothing_but_its_state_with_it(tmp_path: Path) -> None:
    from rate.finetune.state import TrainingState

    hidden = tmp_path / ".checkpoint.training"
    hidden.mkdir()
    (hidden / "notes.txt").write_text("mine")
    state = TrainingState(tmp_path / "checkpoint", {"seed": 0}, force=False)
    state.save(1, {})
    state.discard()
    assert [path.name for path in hidden.iterdir()] == ["notes.txt"]
    (hidden / "notes.txt").unlink()
    state.save(1, {})
    state.discard()
    assert not hidden.exists()
