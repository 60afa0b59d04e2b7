"""Reading a set without holding it: the same samples as a manifest, each in one shard, and refusals as clear."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rate.data.evaluation_set import read_evaluation_set
from rate.data.manifest import read_manifest
from rate.data.set_parts import Shard
from rate.errors import ConfigError, DataError, SetChanged


def write(path: Path, rows: int, **changes: str) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "image", "label", "split", "boxes"])
        for k in range(rows):
            writer.writerow([f"s{k}", f"{k}.png", "ab"[k % 2], ("test", "train")[k % 3 == 0], "[[0, 0, 1, 1]]"])
        for k, image in changes.items():
            writer.writerow([k, image, "a", "test", "[]"])
    return path


@pytest.mark.parametrize("split", [None, "test", "train"])
def test_it_gives_the_samples_of_the_manifest_again_and_again(tmp_path: Path, split: str | None) -> None:
    path = write(tmp_path / "m.csv", 20)
    found, read = read_evaluation_set(str(path), split), read_manifest(path, split=split)
    assert tuple(found) == tuple(found) == read.samples
    assert len(found) == found.available == len(read.samples)
    assert found.digest == read.digest()
    assert found.labels == {sample.label for sample in read.samples}
    assert found.notices == read.notices


def test_a_limit_takes_the_first_and_knows_of_the_others(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", 20)
    whole, some = read_evaluation_set(str(path)), read_evaluation_set(str(path), limit=7)
    assert list(some) == list(whole)[:7]
    assert (len(some), some.available) == (7, 20)
    assert some.digest != whole.digest


@given(of=st.integers(1, 9))
def test_every_sample_is_in_one_shard(tmp_path_factory: pytest.TempPathFactory, of: int) -> None:
    path = write(tmp_path_factory.mktemp("set") / "m.csv", 50)
    whole = read_evaluation_set(str(path))
    shards = [read_evaluation_set(str(path), shard=Shard(number, of)) for number in range(1, of + 1)]
    assert sorted(sample.id for shard in shards for sample in shard) == sorted(sample.id for sample in whole)
    assert [len(shard) for shard in shards] == [len(list(shard)) for shard in shards]
    assert {shard.digest for shard in shards} == {whole.digest}


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", ""])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="shard"):
        Shard.parse(text)


def test_ids_that_appear_twice_are_named_with_both_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", 9, s3="other.png")
    with pytest.raises(DataError, match=r"row 10: id 's3' is already the id of row 4"):
        read_evaluation_set(str(path))


def test_rows_that_are_wrong_are_all_named(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", 3, x="/etc/passwd", y="../up.png")
    with pytest.raises(DataError, match=r"2 problems[\s\S]*row 4[\s\S]*row 5"):
        read_evaluation_set(str(path))


def test_a_source_that_changes_between_readings_stops_the_run(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", 3)
    found = read_evaluation_set(str(path))
    write(path, 4)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SetChanged, match="it had 3 samples, and now row 4 is one more: 's3'"):
        list(found)
