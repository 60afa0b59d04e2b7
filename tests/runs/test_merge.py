"""Runs of shards joined: the rows, maps and numbers of one run over the whole set."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from function_models import job, light

from rate.backends.fake import FakeSpec
from rate.engine.pipeline import evaluate
from rate.errors import RunError, UsageError
from rate.runs.merge import merge
from rate.runs.parts import read_rows
from rate.runs.store import read_run


def rows_of(folder: Path) -> list[dict]:
    return sorted(read_rows(folder, read_run(folder)).to_pylist(), key=lambda row: (row["id"], row["head"]))


def maps_of(folder: Path) -> list[dict]:
    table = pq.read_table(folder / "maps" / "maps.parquet")
    return sorted(table.to_pylist(), key=lambda row: (row["id"], row["head"]))


@pytest.fixture
def shards(image_set, tmp_path: Path) -> tuple[Path, list[Path]]:
    manifest = image_set(20)
    runs = [tmp_path / f"shard{number}" for number in (1, 2, 3)]
    for number, run in enumerate(runs, 1):
        evaluate(job(manifest, shard=f"{number}/3", save_maps=3), FakeSpec(light), run)
    return manifest, runs


def test_merged_shards_are_the_run_of_the_whole_set(shards, tmp_path: Path) -> None:
    manifest, runs = shards
    assert [read_run(run)["status"] for run in runs] == ["partial"] * 3
    whole = evaluate(job(manifest, save_maps=3), FakeSpec(light), tmp_path / "whole")
    merged = merge(runs, tmp_path / "merged")
    assert merged.status == whole.status == "complete"
    assert rows_of(tmp_path / "merged") == rows_of(tmp_path / "whole")
    assert maps_of(tmp_path / "merged") == maps_of(tmp_path / "whole")
    first, second = (summary.to_json()["heads"] for summary in (merged, whole))
    assert first == second
    assert json.loads((tmp_path / "merged" / "summary.json").read_text())["heads"] == second


def test_a_merge_without_a_shard_is_partial(shards, tmp_path: Path) -> None:
    assert merge(shards[1][:2], tmp_path / "merged").status == "partial"


def test_what_does_not_belong_together_is_refused_and_nothing_is_left(shards, tmp_path: Path, image_set) -> None:
    _, runs = shards
    with pytest.raises(RunError, match=r"both hold sample 's\d+'; give every run once"):
        merge([runs[0], runs[0]], tmp_path / "merged")
    evaluate(job(image_set(4, folder="others")), FakeSpec(light), tmp_path / "other")
    with pytest.raises(RunError, match="have other settings"):
        merge([runs[0], tmp_path / "other"], tmp_path / "merged")
    damaged = runs[1] / "samples" / read_run(runs[1])["parts"][0]["name"]
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(RunError, match=r"cannot be read.*--repair"):
        merge(runs, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    assert not list(tmp_path.glob(".*"))
    runs[2].rename(tmp_path / "merged")
    with pytest.raises(UsageError, match=str(tmp_path / "merged")):
        merge([runs[0], tmp_path / "merged"], tmp_path / "merged")
