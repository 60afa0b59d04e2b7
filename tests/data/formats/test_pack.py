"""What is packed evaluates to the same samples, and the same samples are the same bytes."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shard_files import picture

from rate.data.evaluation_set import read_evaluation_set
from rate.data.formats.manifest_files import write_rows
from rate.data.formats.pack import pack
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import prepare
from rate.data.open_data import open_rows
from rate.data.storage.location import read_bytes
from rate.errors import ConfigError, DataError, UsageError

GEOMETRY = Geometry(8, 8, (0.0,) * 3, (1.0,) * 3)
FORMS = {
    "a.jpg": "JPEG",
    "b.png": "PNG",
    "c.webp": "WEBP",
    "d.gif": "GIF",
    "e.tiff": "TIFF",
    "f.ppm": "PPM",
    "g": "BMP",
}
MASKS = ("m.png", "m.gif", "m.tif")

words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=9).filter(str.strip)
corner = st.floats(0, 30)
boxes = st.tuples(corner, corner, corner, corner).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])]
)
regions = st.one_of(
    st.fixed_dictionaries({"boxes": st.lists(boxes, max_size=3)}),
    st.fixed_dictionaries({"mask": st.sampled_from(MASKS)}),
)
rows = st.builds(
    lambda fixed, region: {**fixed, **region},
    st.fixed_dictionaries(
        {"id": words, "image": st.sampled_from(sorted(FORMS)), "label": words},
        optional={"group": words, "cluster": words, "split": st.sampled_from(["train", "test"])},
    ),
    regions,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    for name, form in FORMS.items():
        Image.fromarray(noise).save(root / name, form)
    mask = np.zeros((20, 30), np.uint8)
    mask[3:9, 4:20] = 7
    for name in MASKS:
        Image.fromarray(mask).save(root / name)
    return root


@given(
    st.lists(rows, min_size=1, max_size=6, unique_by=lambda row: row["id"]),
    st.integers(1, 3),
    st.integers(1, 40_000),
    st.sampled_from(["csv", "jsonl", "parquet"]),
)
@settings(max_examples=40)
def test_packed_samples_are_the_same_samples(folder, table, samples, size, suffix):
    shutil.rmtree(folder / "out", ignore_errors=True)
    write_rows(folder / f"m.{suffix}", table)
    report = pack(str(folder / f"m.{suffix}"), folder / "out", shard_samples=samples, shard_bytes=size)
    before, after = list(open_rows(str(folder / f"m.{suffix}"))), list(open_rows(report.pattern))
    assert len(before) == len(after) == report.samples == len(table)
    for one, other in zip(before, after, strict=True):
        assert (one.problems, other.problems) == ((), ())
        assert one.split == other.split
        for field in ("id", "label", "boxes", "group", "cluster", "row"):
            assert getattr(one.sample, field) == getattr(other.sample, field)
        assert read_bytes(one.sample.image) == read_bytes(other.sample.image)
        first, second = prepare(one.sample, GEOMETRY), prepare(other.sample, GEOMETRY)
        np.testing.assert_array_equal(first.picture.pixels, second.picture.pixels)
        np.testing.assert_array_equal(first.region, second.region)


def manifest(root: Path, count: int = 5, name: str = "m.csv") -> str:
    root.mkdir(exist_ok=True)
    lines = ["id,image,label,boxes,split"]
    for number in range(count):
        (root / f"{number}.png").write_bytes(picture(number))
        lines.append(f'n{number},{number}.png,dog,"[[0,0,2,2]]",{("train", "test")[number % 2]}')
    (root / name).write_text("\n".join(lines) + "\n")
    return str(root / name)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_samples_are_the_same_bytes_wherever_they_lie(tmp_path):
    one = pack(manifest(tmp_path / "here"), tmp_path / "one", shard_samples=2)
    pack(manifest(tmp_path / "there"), tmp_path / "two", shard_samples=2)
    pack(one.pattern, tmp_path / "three", shard_samples=2)
    assert files(tmp_path / "one") == files(tmp_path / "two") == files(tmp_path / "three")
    assert list(files(tmp_path / "one")) == ["000000.tar", "000001.tar", "000002.tar"]
    assert one.pattern == f"{tmp_path / 'one'}/{{000000..000002}}.tar"
    assert read_evaluation_set(one.pattern).digest == read_evaluation_set(str(tmp_path / "two" / "*.tar")).digest
    assert one.bytes == sum(map(len, files(tmp_path / "one").values()))


def test_members_are_sorted_and_say_nothing_of_the_machine(tmp_path):
    pack(manifest(tmp_path / "set"), tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "000000.tar") as tar:
        members = tar.getmembers()
    *names, index = [member.name for member in members]
    assert (names, index) == (sorted(names), ".rate-index")
    assert names[:2] == ["000000000.json", "000000000.png"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


@pytest.mark.parametrize(("limit", "shards"), [({"shard_bytes": 1}, 5), ({"shard_bytes": 10_240}, 2), ({}, 1)])
def test_shards_end_where_they_should(tmp_path, limit, shards):
    report = pack(manifest(tmp_path / "set"), tmp_path / "out", **limit)
    assert report.shards == shards == len(files(tmp_path / "out"))
    for path in (tmp_path / "out").iterdir():
        with tarfile.open(path) as tar:  # the limit is that of what comes before the index
            before = max(member.offset for member in tar.getmembers())
        assert before <= max(10_240, limit.get("shard_bytes", before))
    assert len(list(open_rows(report.pattern))) == 5


def test_a_split_alone(tmp_path):
    report = pack(manifest(tmp_path / "set"), tmp_path / "out", split="test")
    assert [(row.sample.id, row.split) for row in open_rows(report.pattern)] == [("n1", "test"), ("n3", "test")]
    with pytest.raises(DataError, match="has no split 'val'; it has the splits test"):
        pack(manifest(tmp_path / "set"), tmp_path / "no", split="val")


def test_progress(tmp_path):
    said: list[tuple[int, int]] = []
    pack(manifest(tmp_path / "set", 3), tmp_path / "out", tick=lambda done, total: said.append((done, total)))
    assert said == [(1, 3), (2, 3), (3, 3)]


def test_nothing_is_overwritten(tmp_path):
    data = manifest(tmp_path / "set")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("out", "file"):
        with pytest.raises(UsageError, match="choose a new one"):
            pack(data, tmp_path / name)
    assert files(tmp_path / "out") == {"mine": b"x"}
    (tmp_path / "empty").mkdir()
    assert pack(data, tmp_path / "empty").samples == 5


@pytest.mark.parametrize(
    ("break_it", "what"),
    [
        (lambda root: (root / "4.png").unlink(), r"row 5 cannot be packed: .*4.png: no such file"),
        (lambda root: (root / "4.png").write_text("text"), r"row 5 cannot be packed: .*is not an image"),
        (
            lambda root: (root / "m.csv").write_text("id,image,label,boxes\nx,y.png,,[]\n"),
            r"1 problem:\n  row 1: label",
        ),
    ],
)
def test_a_set_that_is_not_whole_leaves_nothing_behind(tmp_path, break_it, what):
    data = manifest(tmp_path / "set")
    break_it(tmp_path / "set")
    with pytest.raises(DataError, match=what):
        pack(data, tmp_path / "out", shard_samples=1)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_limits_that_are_none(tmp_path):
    for limit in ({"shard_bytes": 0}, {"shard_samples": 0}):
        with pytest.raises(ConfigError, match="at least 1 byte and 1 sample"):
            pack(manifest(tmp_path / "set"), tmp_path / "out", **limit)
