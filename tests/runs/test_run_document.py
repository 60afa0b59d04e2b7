"""run.json as a record: what is read is written again, byte for byte; where the data of a run lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from function_models import GEOMETRY, HEADS, evaluate, job, light
from msgspec import structs

from rate.backends.fake import FakeSpec
from rate.records import schema_id
from rate.report.heads import load_heads
from rate.report.html.page import write_report
from rate.runs.merge import merge
from rate.runs.run_document import Origin, RunDocument, data_of, located, read_run, write_run


@pytest.mark.parametrize("shard", ["1/1", "1/2"])
def test_a_run_that_is_read_and_written_again_keeps_its_bytes(image_set, tmp_path: Path, shard: str) -> None:
    run = tmp_path / "run"
    evaluate(job(image_set(4), shard=shard), FakeSpec(light), run)
    before = (run / "run.json").read_bytes()
    write_run(run, read_run(run))
    assert (run / "run.json").read_bytes() == before


def test_a_run_names_all_of_its_settings_and_nothing_that_it_does_not_have(image_set, tmp_path: Path) -> None:
    run = tmp_path / "run"
    evaluated = job(image_set(2))
    evaluate(evaluated, FakeSpec(light), run)
    stored = json.loads((run / "run.json").read_text())
    assert stored["measurement"] == evaluated.settings
    assert stored["rule"] == evaluated.measurement.rule(), "no entry for a corruption"
    assert stored["identity"]["schema"] == schema_id(RunDocument)
    assert stored["identity"]["geometry"]["size"] == GEOMETRY.size
    assert stored["origin"]["data_from_run"] == "../set/manifest.csv"
    assert [head["name"] for head in stored["heads"]] == [head.name for head in HEADS]
    of_remote_data = structs.replace(read_run(run).origin, data_from_run=None)
    write_run(run, structs.replace(read_run(run), origin=of_remote_data))
    assert "data_from_run" not in json.loads((run / "run.json").read_text())["origin"]


@pytest.fixture
def work(image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a set and a run of it, both named relative to the folder."""
    place = tmp_path / "work"
    place.mkdir()
    image_set(6, folder="work/data")
    monkeypatch.chdir(place)
    manifest = Path("data/manifest.csv")
    evaluate(job(manifest), FakeSpec(light), Path("runs/one"))
    for number in (1, 2):
        evaluate(job(manifest, shard=f"{number}/2"), FakeSpec(light), Path(f"runs/shard{number}"))
    merge([Path("runs/shard1"), Path("runs/shard2")], Path("elsewhere/deep/merged"))
    return place


def of(data: str | None) -> Origin:
    return Origin("artifact", data, None, None, "1/1")


def pictures(run: Path, out: Path) -> tuple[int, int]:
    report = write_report(load_heads(str(run)), out / f"{run.name}.html")
    return report.pictures, report.samples


@pytest.mark.parametrize("run", ["runs/one", "elsewhere/deep/merged"])
def test_a_report_made_in_another_folder_has_its_pictures(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    assert read_run(work / run).origin.data == "data/manifest.csv", "as it was given"
    monkeypatch.chdir(tmp_path)
    shown, all_of_them = pictures(work / run, tmp_path)
    assert shown == all_of_them > 0
    moved = Path(shutil.move(work, tmp_path / "moved"))
    assert pictures(moved / run, moved) == (shown, shown), "run and data were moved together"


def test_a_run_that_was_moved_alone_finds_its_data_as_it_was_named(work: Path) -> None:
    moved = Path(shutil.move("runs/one", "moved"))
    shown, all_of_them = pictures(moved, work)
    assert shown == all_of_them > 0


def test_links_on_the_way_are_followed_and_that_of_the_manifest_is_not(tmp_path: Path) -> None:
    """Images lie beside the name that was given."""
    for name in ("disk/runs/one", "disk/set", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "disk/set/manifest.csv").touch()
    (tmp_path / "runs").symlink_to("disk/runs")
    (tmp_path / "other/set.csv").symlink_to("../disk/set/manifest.csv")
    origin = located(of(str(tmp_path / "other/set.csv")), tmp_path / "runs/one")
    assert origin.data_from_run == "../../../other/set.csv"
    assert data_of(origin, tmp_path / "runs/one")[0] == str(tmp_path / "other/set.csv")


@pytest.mark.parametrize("data", [None, "s3://bucket/set.csv", "memory://a-{0..3}.tar"])
def test_what_is_no_path_stays_as_it_is(data: str | None, tmp_path: Path) -> None:
    assert located(of(data), tmp_path) == of(data)
    assert data_of(of(data), tmp_path) == [name for name in (data,) if name is not None]
