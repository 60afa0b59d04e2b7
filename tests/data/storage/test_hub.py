"""Data sets of the Hugging Face Hub through its own client, from a mirror on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import hub_mirror
import huggingface_hub
import pytest
from hub_mirror import Mirror
from library_sets import NAMES, dataset, png, some_rows, write_shards

from rate.cli.main import run
from rate.data.open_data import open_rows
from rate.data.storage import remote_cache
from rate.data.storage.location import read_bytes
from rate.errors import DataError, SetChanged
from rate.reading import Reading

ROWS = some_rows(4)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_cache, "_known", {})
    with hub_mirror.running(monkeypatch) as mirror:
        yield mirror


@pytest.fixture
def folder(mirror: Mirror, tmp_path: Path) -> Path:
    """A set `me/pictures` of two splits as `push_to_hub` lays it out."""
    folder = mirror.folders["me/pictures"] = tmp_path / "pictures"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("A set.")
    for split, rows in (("train", ROWS[:3]), ("test", ROWS[3:])):
        dataset(rows).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def refused(data: str) -> str:
    with pytest.raises(DataError) as error:
        list(open_rows(data))
    return str(error.value)


def test_a_set_by_its_name_its_revision_a_folder_and_files(folder: Path, mirror: Mirror) -> None:
    for named in ("", "@main", "/data", "/data/*.parquet", "/data/{train,test}-00000-of-00001.parquet"):
        rows = list(open_rows(f"hf://datasets/me/pictures{named}"))
        assert sorted((row.sample.id, row.split) for row in rows) == [
            *((f"s{k}", "train") for k in range(3)),
            ("s3", "test"),
        ]
        assert {row.sample.id: read_bytes(row.sample.image) for row in rows} == {
            row.id: png(row.picture) for row in ROWS
        }
    fetched = [one for one in mirror.requests if "/resolve/" in one and one.endswith(".parquet")]
    assert len(fetched) == 4  # @main names other URLs


def test_what_the_hub_converted_and_shards(folder: Path, mirror: Mirror, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (folder / "default" / split).mkdir(parents=True)
        shutil.move(folder / "data" / f"{split}-00000-of-00001.parquet", folder / "default" / split / "0000.parquet")
    rows = list(open_rows("hf://datasets/me/pictures@refs/convert/parquet"))
    assert [(row.sample.id, row.split) for row in rows][:2] == [("s3", "test"), ("s0", "train")]
    write_shards(ROWS, tmp_path / "tars", masks=True)
    mirror.folders["me/shards"] = tmp_path / "tars"
    words = Reading(columns="image=image.png,mask=png", label_names=NAMES)
    shards = list(open_rows("hf://datasets/me/shards", words))
    assert [read_bytes(row.sample.mask) for row in shards] == [png(row.mask) for row in ROWS]


def test_configurations_are_those_that_the_card_lists(folder: Path) -> None:
    for name, rows in (("en", ROWS[:1]), ("de", ROWS[1:])):
        dataset(rows).to_parquet(folder / "data" / f"{name}-test-00000-of-00001.parquet")
    card = """---
configs:
- config_name: english
  data_files: data/en-*.parquet
- config_name: german{default}
  data_files:
  - split: test
    path: [data/de-test-*.parquet]
- config_name: both
  data_dir: data
  data_files: {{test: "*-test-*.parquet"}}
---
A set.
"""
    (folder / "README.md").write_text(card.format(default=""))
    url = "hf://datasets/me/pictures"
    assert f"the set's configurations are english, german, both; name one: {url}/german" in refused(url)
    assert f"the set's configurations are english, german, both; name one: {url}/german" in refused(f"{url}/french")
    asked = {"english": ["s0"], "german": ["s1", "s2", "s3"], "both": ["s1", "s2", "s3", "s0"]}
    for name, ids in asked.items():
        assert [row.sample.id for row in open_rows(f"{url}/{name}")] == ids
    (folder / "README.md").write_text(card.format(default="\n  default: true"))
    huggingface_hub.HfFileSystem.clear_instance_cache()
    assert [row.sample.id for row in open_rows(url)] == asked["german"]


def test_a_file_that_was_replaced(folder: Path) -> None:
    (row,) = open_rows("hf://datasets/me/pictures/data/test-00000-of-00001.parquet")
    dataset(ROWS).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    huggingface_hub.HfFileSystem.clear_instance_cache()
    remote_cache._known.clear()
    with pytest.raises(SetChanged):
        read_bytes(row.sample.image, row.sample.image_stamp)


def test_what_the_hub_refuses(folder: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    file = "hf://datasets/me/pictures/data/test-00000-of-00001.parquet"
    missing = "the Hub has no such set, or it is private: check USER/NAME, or sign in with `hf auth login`"
    for data in ("hf://datasets/me/nothing", "hf://datasets/me/nothing/*.tar", "hf://datasets/me/nothing/a.csv"):
        assert missing in refused(data)
    assert "no such revision: check what follows `@`" in refused("hf://datasets/me/pictures@v9")
    assert "the Hub names sets hf://datasets/USER/NAME" in refused("hf://datasets/pictures")
    assert "does not exist" in refused("hf://datasets/me/pictures/data/none.parquet")
    assert "has no Parquet and no tar shards" in refused("hf://datasets/me/pictures/nothing")
    (folder / "more").mkdir()
    shutil.copy(folder / "data" / "test-00000-of-00001.parquet", folder / "more")
    several = "has .parquet files in the folders data, more; name one: hf://datasets/me/pictures/more"
    assert several in refused("hf://datasets/me/pictures")
    mirror.gated.add("me/pictures")
    assert "the set is gated: ask for access on its page" in refused(file)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.HfFileSystem.clear_instance_cache()
    assert run(["data", "check", "hf://datasets/me/pictures"]) == 2
    assert "HF_HUB_OFFLINE is set, so nothing is fetched: unset it" in capsys.readouterr().out
