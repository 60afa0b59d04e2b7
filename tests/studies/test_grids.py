"""How far a grid is, and grids of shards merged run by run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
from object_store import ObjectStore
from test_corruption_grid import grid_of, job, light

from rate.backends.fake import FakeSpec
from rate.cli.main import run
from rate.errors import RunError
from rate.report.schemas import all_schemas
from rate.runs.folder import GRID
from rate.runs.merge import merge
from rate.runs.parts import read_rows
from rate.runs.remote import local_run, run_for_writing
from rate.runs.run_document import read_run
from rate.studies.grids import merge_grids, read_grid_status

NAMES = ["clean", "contrast-1", "contrast-4", "pixelate-2"]


@pytest.fixture
def shards(image_set, tmp_path: Path) -> list[Path]:
    """A grid of each of two shards, and one of the whole set."""
    manifest = image_set(6, 70)
    for number in (1, 2):
        grid_of(job(manifest, shard=f"{number}/2"), tmp_path / f"shard{number}", FakeSpec(light))
    grid_of(job(manifest), tmp_path / "whole", FakeSpec(light))
    return [tmp_path / "shard1", tmp_path / "shard2"]


def test_merged_grids_are_the_grid_of_the_whole_set(
    shards: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["merge", *map(str, shards), "--out", str(tmp_path / "merged"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "merged" / GRID).read_text())
    assert printed == json.loads((tmp_path / "whole" / GRID).read_text())
    for name in NAMES:
        one, other = (
            read_rows(folder, read_run(folder)) for folder in (tmp_path / "merged" / name, tmp_path / "whole" / name)
        )
        assert one.sort_by("id") == other.sort_by("id")
    assert read_grid_status(tmp_path / "merged").status == "complete"


def test_a_grid_on_an_object_storage_is_that_of_a_folder(
    shards: list[Path], tmp_path: Path, store: ObjectStore, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    url = "s3://pictures/grids"
    with run_for_writing(f"{url}/1", NAMES) as folder:
        grid_of(job(tmp_path / "set" / "manifest.csv", shard="1/2"), folder, FakeSpec(light))
    with run_for_writing(f"{url}/2", NAMES) as folder:
        shutil.copytree(shards[1], folder, dirs_exist_ok=True)
    assert run(["merge", f"{url}/1", f"{url}/2", "--out", f"{url}/all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "whole" / GRID).read_text())
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "reader"))
    assert run(["status", f"{url}/all"]) == 0
    assert "complete, 4 of 4 runs complete" in capsys.readouterr().out
    assert not [*(tmp_path / "reader").rglob("part-*")], "no rows are fetched for it"
    for name in NAMES:
        far, near = local_run(f"{url}/all"), tmp_path / "whole"
        one, other = (read_rows(folder / name, read_run(folder / name)) for folder in (far, near))
        assert one.sort_by("id") == other.sort_by("id")
    with pytest.raises(RunError, match="holds 'clean' and no run"), run_for_writing(f"{url}/1"):
        pass


def test_the_status_of_a_grid_counts_its_runs(
    shards: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", str(shards[0]), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    jsonschema.validate(status, all_schemas()["grid-status"])
    planned = read_run(shards[0] / "clean").samples.planned
    assert (status["status"], status["complete"], status["done"]) == ("partial", 0, len(NAMES) * planned)
    assert [one["run"] for one in status["runs"]] == sorted(NAMES)
    assert run(["status", str(tmp_path / "whole")]) == 0
    assert "complete, 4 of 4 runs complete" in capsys.readouterr().out


def test_a_run_that_one_grid_lacks_is_partial_and_other_folders_are_refused(shards: list[Path], tmp_path: Path) -> None:
    shutil.rmtree(shards[1] / "contrast-4")
    merged = merge_grids(shards, tmp_path / "merged")
    assert {cell.run: cell.status for cell in merged.cells} == dict.fromkeys(NAMES, "complete") | {
        "contrast-4": "partial"
    }
    with pytest.raises(RunError, match="both hold sample"):
        merge_grids([shards[0], shards[0]], tmp_path / "twice")
    assert not (tmp_path / "twice").exists()
    with pytest.raises(RunError, match="shard1 is not a run, it holds runs"):
        merge([shards[0], tmp_path / "whole" / "clean"], tmp_path / "mixed")
