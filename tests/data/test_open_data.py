"""What DATA may name, in which order its files come, and what is said of the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_files import picture, sample, write_shards

from rate.data.manifest import parse_rows
from rate.data.open_data import expand, folder_of, open_rows
from rate.errors import DataError
from rate.reading import Reading


def names(folder: Path, data: str) -> list[str]:
    return [str(Path(path).relative_to(folder)) for path in expand(data)]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for name in ("8.tar", "9.tar", "10.tar", "a.tar", "b.tar", "s[1].tar", ".hidden.tar"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("a.tar", ["a.tar"]),
        ("{8..10}.tar", ["8.tar", "9.tar", "10.tar"]),
        ("{10..8}.tar", ["10.tar", "9.tar", "8.tar"]),
        ("{b,a}.tar", ["b.tar", "a.tar"]),
        ("{8,a}{.tar,.tar}", ["8.tar", "8.tar", "a.tar", "a.tar"]),
        ("?.tar", ["8.tar", "9.tar", "a.tar", "b.tar"]),
        ("*.tar", ["10.tar", "8.tar", "9.tar", "a.tar", "b.tar", "s[1].tar"]),
        ("[ab].tar", ["a.tar", "b.tar"]),
        ("s[1].tar", ["s[1].tar"]),
    ],
)
def test_patterns(shards, written, found):
    assert names(shards, f"{shards}/{written}") == found
    assert folder_of(f"{shards}/{written}").path == str(shards)


def test_patterns_are_relative_to_where_we_are(shards, monkeypatch):
    monkeypatch.chdir(shards)
    assert names(shards, "{8..9}.tar") == names(shards, "[89].tar") == ["8.tar", "9.tar"]
    assert folder_of("*.tar").path == str(shards)


def test_zeros_are_kept_and_urls_stay_urls():
    assert expand("s3://b/{098..100}.tar") == ["s3://b/098.tar", "s3://b/099.tar", "s3://b/100.tar"]
    assert expand("s3://{a,b}/{0..1}.tar") == ["s3://a/0.tar", "s3://a/1.tar", "s3://b/0.tar", "s3://b/1.tar"]


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ("none.tar", "none.tar does not exist"),
        ("{000..001}.tar", "000.tar does not exist"),
        ("z*.tar", "no file matches"),
        ("", "is a folder; `rate data index folder`"),
        ("m.*", "names files of several kinds: .csv, .tar"),
        ("{m,m}.csv", "a manifest is one file"),
        ("x.tar.gz", "is compressed, and images are read at random"),
        ("x.tgz", "is compressed"),
        ("x.txt", "a manifest ends in .csv.*rate data index yolo"),
        ("x.yaml", "rate data index yolo"),
        ("x.json", "rate data index coco"),
        ("s3://b/{0..1}.csv", "names 2 manifests; a manifest is one file"),
        ("nosuch://b/m.csv", "the manifest nosuch://b/m.csv cannot be fetched: Protocol not known"),
        ("nosuch://b/*.tar", "cannot be looked up"),
        ("nosuch://b/0.tar", "the shard nosuch://b/0.tar cannot be read: Protocol not known"),
        ("nosuch://b/0.parquet", "nosuch://b/0.parquet cannot be read as a Parquet file: Protocol not known"),
        ("pipe.tar", "is not a regular file"),
        ("zip://*.tar::s3://b/x.zip", "chained URL"),
        ("s3://b/{0..99999999}.tar", "more than 100,000 files"),
        ("s3://b/{0..9999}{0..9999}.tar", "more than 100,000 files"),
    ],
)
def test_what_is_refused(tmp_path, written, what):
    for name in ("m.tar", "m.csv", "x.tar.gz", "x.tgz", "x.txt", "x.yaml", "x.json"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(DataError, match=what):
        list(open_rows(written if "://" in written else f"{tmp_path}/{written}"))


def test_a_manifest_is_read_as_ever(image_set):
    manifest = image_set()
    assert list(open_rows(str(manifest))) == list(parse_rows(manifest))


def test_shards_without_a_sample(tmp_path):
    with pytest.raises(DataError, match="has no samples"):
        list(open_rows(write_shards(tmp_path, {"README": b"x"})))


def test_the_id_is_a_column_that_is_named(tmp_path):
    fields = {"key": "mine", "label": "dog", "boxes": [[0.0, 0.0, 2.0, 2.0]]}
    shard = write_shards(tmp_path, {"0.png": picture(), "0.json": json.dumps(fields).encode()})
    table = pa.table({name: [value] for name, value in fields.items()} | {"image": [{"bytes": picture()}]})
    pq.write_table(table, tmp_path / "a.parquet")
    for data in (shard, str(tmp_path / "a.parquet")):
        assert [row.sample.id for row in open_rows(data, Reading(columns="id=key"))] == ["mine"]


def test_rows_come_one_by_one(tmp_path):
    pattern = write_shards(tmp_path, sample("a"), sample("b"))
    stream = open_rows(pattern)
    assert next(stream).sample.id == "a"
    (tmp_path / "001.tar").unlink()
    with pytest.raises(DataError, match=r"001.tar does not exist"):
        next(stream)
