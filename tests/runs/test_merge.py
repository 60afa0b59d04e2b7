"""Runs of shards joined: the rows, maps and numbers of one run over the whole set."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from function_models import evaluate, job, light

from rate.backends.fake import FakeSpec
from rate.errors import RunError, TooManyErrors, UsageError
from rate.records import written
from rate.runs import parts as part_reader
from rate.runs.merge import left_behind, merge
from rate.runs.part_list import read_list
from rate.runs.parts import read_rows
from rate.runs.rows import SCHEMA
from rate.runs.run_document import read_run
from rate.runs.status import read_status


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
    assert [read_run(run).status for run in runs] == ["partial"] * 3
    whole = evaluate(job(manifest, save_maps=3), FakeSpec(light), tmp_path / "whole")
    merged = merge(runs, tmp_path / "merged")
    assert merged.status == whole.status == "complete"
    assert rows_of(tmp_path / "merged") == rows_of(tmp_path / "whole")
    assert maps_of(tmp_path / "merged") == maps_of(tmp_path / "whole")
    first, second = (json.loads(written(summary.document))["heads"] for summary in (merged, whole))
    assert first == second
    assert json.loads((tmp_path / "merged" / "summary.json").read_text())["heads"] == second


def test_a_merge_without_a_shard_is_partial(shards, tmp_path: Path) -> None:
    assert merge(shards[1][:2], tmp_path / "merged").status == "partial"


def test_what_does_not_belong_together_is_refused_and_nothing_is_left(shards, tmp_path: Path, image_set) -> None:
    _, runs = shards
    with pytest.raises(RunError, match=r"both hold sample 's\d+'"):
        merge([runs[0], runs[0]], tmp_path / "merged")
    evaluate(job(image_set(4, folder="others")), FakeSpec(light), tmp_path / "other")
    with pytest.raises(
        RunError, match=r"have other settings \(.*identity\.data: \w{12}\.\.\. in .*other, \w{12}\.\.\. in "
    ):
        merge([runs[0], tmp_path / "other"], tmp_path / "merged")
    damaged = runs[1] / "samples" / read_list(runs[1])[0].name
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(RunError, match=r"cannot be read.*--repair"):
        merge(runs, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    assert not list(tmp_path.glob(".*"))
    runs[2].rename(tmp_path / "merged")
    with pytest.raises(UsageError, match=str(tmp_path / "merged")):
        merge([runs[0], tmp_path / "merged"], tmp_path / "merged")


def test_every_shard_is_read_once_whatever_their_number(
    image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = image_set(12)
    runs = [tmp_path / str(number) for number in range(1, 7)]
    for number, run in enumerate(runs, 1):
        evaluate(job(manifest, shard=f"{number}/6"), FakeSpec(light), run)
    opened: list[Path] = []
    read = part_reader.read_table

    def counted(path: Path, *arguments: object) -> object:
        opened.append(path)
        return read(path, *arguments)

    monkeypatch.setattr(part_reader, "read_table", counted)
    merge(runs, tmp_path / "merged")
    of_shards = Counter(path for path in opened if not path.is_relative_to(tmp_path / "merged"))
    of_shards = Counter({path: count for path, count in of_shards.items() if path.parent.parent in runs})
    listed = {run / "samples" / part.name for run in runs for part in read_list(run)}
    assert of_shards == dict.fromkeys(listed, 1)


def test_a_merge_adds_up_and_is_one_run_for_every_reader(shards, tmp_path: Path) -> None:
    manifest, runs = shards
    (manifest.parent / "0.png").write_bytes(b"")
    for number, run in enumerate(runs, 1):
        shutil.rmtree(run)
        evaluate(job(manifest, shard=f"{number}/3", save_maps=3), FakeSpec(light), run)
    merged = tmp_path / "merged"
    merge(runs, merged)
    status = read_status(merged)
    assert (status.status, status.planned, status.done, status.errors) == ("complete", 20, 20, 1)
    evaluate(job(manifest, save_maps=3), FakeSpec(light), merged)
    assert read_run(merged).sessions[-1].samples == 0, "the run of the whole set goes on from it"


def test_a_merge_of_shards_that_all_failed_is_failed(image_set, tmp_path: Path) -> None:
    manifest, runs = image_set(6), [tmp_path / "1", tmp_path / "2"]
    for path in manifest.parent.glob("*.png"):
        path.write_bytes(b"")
    for number, run in enumerate(runs, 1):
        with pytest.raises(TooManyErrors):
            evaluate(job(manifest, shard=f"{number}/2"), FakeSpec(light), run)
    assert merge(runs, tmp_path / "merged").status == "failed"


def test_what_a_killed_merge_left_is_removed_by_the_next(shards, tmp_path: Path) -> None:
    _, runs = shards
    script = (
        "import os, signal, sys; from pathlib import Path; from rate.runs import merge as m; "
        "m.summarize = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        "m.merge([Path(p) for p in sys.argv[2:]], Path(sys.argv[1]))"
    )
    out = tmp_path / "merged"
    done = subprocess.run([sys.executable, "-c", script, out, *runs], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")], "the kill came in the middle"
    merge(runs, out)
    assert {path.name for path in tmp_path.iterdir()} == {"set", "merged", *(run.name for run in runs)}


def test_a_damaged_column_of_a_shard_is_refused(shards, tmp_path: Path) -> None:
    """Also one that no number is computed from: the merged run would be damaged from its beginning."""
    _, runs = shards
    path = runs[1] / "samples" / read_list(runs[1])[0].name
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(SCHEMA.get_field_index("explained"))
    data[column.data_page_offset + column.total_compressed_size - 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunError, match=path.name):
        merge(runs, tmp_path / "merged")


def test_what_is_not_merged_is_named(shards) -> None:
    _, runs = shards
    (runs[0] / "faithfulness.json").write_text("{}")
    assert left_behind(runs) == [runs[0] / "faithfulness.json"]
