"""Tar shards and Parquet with images give a run the rows of their manifest, in one process and in several."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from function_models import evaluate, job, light
from pyarrow import parquet

from rate.backends.fake import FakeSpec
from rate.data.evaluation_set import read_evaluation_set
from rate.data.formats.pack import pack
from rate.data.storage.location import read_bytes
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run


def rows_of(data: str, out: Path, workers: int = 1) -> list[dict]:
    evaluate(job(data, workers=workers), FakeSpec(light), out)
    return sorted(read_rows(out, read_run(out)).to_pylist(), key=lambda row: (row["id"], row["head"]))


def to_parquet(data: str, path: Path) -> str:
    samples = list(read_evaluation_set(data))
    table = pa.table(
        {
            "id": [sample.id for sample in samples],
            "image": [read_bytes(sample.image) for sample in samples],
            "label": [sample.label for sample in samples],
            "boxes": [sample.boxes for sample in samples],
            "group": [sample.group for sample in samples],
            "cluster": [sample.cluster for sample in samples],
        }
    )
    parquet.write_table(table, path, row_group_size=5)
    return str(path)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_source_gives_the_same_rows(image_set, tmp_path: Path, workers: int) -> None:
    manifest = str(image_set(12))
    expected = rows_of(manifest, tmp_path / "manifest")
    shards = pack(manifest, tmp_path / "shards", shard_samples=5).pattern
    assert rows_of(shards, tmp_path / "tar", workers) == expected
    table = to_parquet(manifest, tmp_path / "set.parquet")
    assert rows_of(table, tmp_path / "parquet", workers) == expected
