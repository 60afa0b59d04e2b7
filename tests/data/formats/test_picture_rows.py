"""Parquet with the images inside: the forms of Hugging Face, what is read when, and what memory it may take."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet
from shard_files import picture

from rate.data.formats import row_groups
from rate.data.formats.picture_rows import picture_rows
from rate.data.images.prepare import load_image, load_mask
from rate.data.manifest import ParsedRow, parse_rows
from rate.data.open_data import open_rows
from rate.data.storage import remote_cache
from rate.data.storage.location import Folder, read_bytes
from rate.errors import DataError, SampleError
from rate.reading import Reading

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(autouse=True)
def own_groups(monkeypatch: pytest.MonkeyPatch) -> row_groups.RowGroups:
    groups = row_groups.RowGroups()
    monkeypatch.setattr(row_groups, "_groups", groups)
    return groups


def structs(*images: bytes | None) -> pa.Array:
    return pa.array([{"bytes": data, "path": "x.png"} for data in images], IMAGE)


def write(path: Path, columns: dict[str, object], rows: int = 2, features: object = None, **options: object) -> Path:
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path, row_group_size=rows, **options)
    return path


def rows(path: Path, **words: object) -> list[ParsedRow]:
    return list(open_rows(str(path), Reading(**words)))


def messages(parsed: list[ParsedRow]) -> list[str]:
    return [problem.message for row in parsed for problem in row.problems]


BOXES = [[[0, 0, 1, 1]], [[0, 0, 2, 2]], []]
THREE = {"image": structs(b"a", b"b", b"c"), "label": ["dog", "cat", "dog"], "boxes": BOXES}


# -------------------------------------------------------------------------------------------------------- accepted


@pytest.mark.parametrize("kind", [IMAGE, pa.binary(), pa.large_binary(), pa.struct([("bytes", pa.large_binary())])])
@pytest.mark.parametrize("group", [1, 2, 3])
def test_pictures_of_every_form_and_size_of_groups(tmp_path, kind, group):
    values = [{"bytes": data} if pa.types.is_struct(kind) else data for data in (b"a", b"bb", b"ccc")]
    parsed = rows(write(tmp_path / "d.parquet", {**THREE, "image": pa.array(values, kind)}, group))
    assert [read_bytes(row.sample.image) for row in parsed] == [b"a", b"bb", b"ccc"]
    assert [row.sample.id for row in parsed] == ["d.parquet:1", "d.parquet:2", "d.parquet:3"]
    assert [(row.row, row.sample.row) for row in parsed] == [(1, 1), (2, 2), (3, 3)]
    assert parsed[1].sample.boxes == ((0.0, 0.0, 2.0, 2.0),)


def test_all_columns(tmp_path):
    columns = {
        **THREE,
        "id": [7, 8, 9],
        "split": ["test"] * 3,
        "group": ["g", None, "h"],
        "cluster": [None, "c", "c"],
        "extra": [1.0] * 3,
    }
    parsed = rows(write(tmp_path / "d.parquet", columns))
    assert [(r.sample.id, r.split, r.sample.group, r.sample.cluster) for r in parsed] == [
        ("7", "test", "g", None),
        ("8", "test", None, "c"),
        ("9", "test", "h", "c"),
    ]


def test_masks_beside_boxes(tmp_path):
    masks = structs(picture(255), picture(0), None)
    columns = {"image": structs(*[picture()] * 3), "label": ["l"] * 3, "mask": masks, "boxes": [None, None, BOXES[0]]}
    first, second, third = rows(write(tmp_path / "d.parquet", columns))
    assert load_image(first.sample.image).size == (6, 4)
    assert load_mask(first.sample.mask).object.all()
    assert not load_mask(second.sample.mask).object.any()
    assert (third.sample.mask, third.sample.boxes) == (None, ((0.0, 0.0, 1.0, 1.0),))


def test_class_labels_get_their_names(tmp_path):
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    parsed = rows(write(tmp_path / "d.parquet", {**THREE, "label": [1, 0, 2]}, features=features))
    assert [row.sample and row.sample.label for row in parsed] == ["dog", "cat", None]
    assert "label holds class 2, and 2 classes have names, from 0 to 1" in messages(parsed)[0]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_objects_have_x_y_width_height_and_count_where_their_category_is_the_label(tmp_path, transposed, named):
    boxes, kinds = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], [0, 1] if named else ["dog", "cat"]
    objects: object = {"bbox": boxes, "category": kinds}
    if transposed:
        objects = [{"bbox": box, "category": kind} for box, kind in zip(boxes, kinds, strict=True)]
    names = {"feature": {"category": {"names": ["dog", "cat"], "_type": "ClassLabel"}}, "_type": "Sequence"}
    columns = {"image": structs(b"a"), "label": ["cat"], "objects": [objects]}
    path = write(tmp_path / "d.parquet", columns, features={"objects": names} if named else None)
    (row,) = rows(path, box_format="xywh")
    assert row.sample.boxes == ((5.0, 6.0, 12.0, 14.0),)


def test_objects_without_categories_count_all(tmp_path):
    columns = {"image": structs(b"a", b"b"), "label": ["l"] * 2, "objects": [{"bbox": [[0, 0, 1, 1]]}, {"bbox": []}]}
    parsed = rows(write(tmp_path / "d.parquet", columns), box_format="xyxy")
    assert [row.sample.boxes for row in parsed] == [((0.0, 0.0, 1.0, 1.0),), ()]


def test_many_files(tmp_path):
    for folder in ("test", "train"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "0.parquet", {**THREE, "split": [folder] * 3})
    parsed = rows(tmp_path / "*" / "0.parquet")
    assert [row.sample.id for row in parsed][::3] == ["test/0.parquet:1", "train/0.parquet:1"]
    assert [row.row for row in parsed] == [1, 2, 3, 4, 5, 6]


def test_paths_of_images_are_their_ids_whatever_the_file_is_called(tmp_path: Path) -> None:
    values = pa.array([{"bytes": data, "path": f"train/{k}.png"} for k, data in enumerate((b"a", b"b", b"c"))], IMAGE)
    path = write(tmp_path / "d.parquet", {**THREE, "image": values})
    ids = [row.sample.id for row in rows(path)]
    assert ids == ["train/0.png", "train/1.png", "train/2.png"]
    assert [row.sample.id for row in rows(path.rename(tmp_path / "renamed.parquet"))] == ids


@pytest.mark.parametrize("path", ["train/0.png", None, ""], ids=["twice", "none", "empty"])
def test_images_without_a_path_of_their_own_are_known_by_file_and_row(tmp_path: Path, path: str | None) -> None:
    paths = ["train/0.png", "train/1.png", path]
    values = pa.array(
        [{"bytes": data, "path": name} for data, name in zip((b"a", b"b", b"c"), paths, strict=True)], IMAGE
    )
    parsed = rows(write(tmp_path / "d.parquet", {**THREE, "image": values}))
    assert [row.sample.id for row in parsed] == ["d.parquet:1", "d.parquet:2", "d.parquet:3"]


def test_a_remote_file(tmp_path, monkeypatch):
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_cache, "_known", {})
    data = write(tmp_path / "d.parquet", THREE).read_bytes()
    fsspec.filesystem("memory").pipe("/p/d.parquet", data)
    parsed = list(open_rows("memory://p/*.parquet"))
    assert [row.sample.id for row in parsed] == [f"d.parquet:{number}" for number in (1, 2, 3)]
    assert [read_bytes(row.sample.image) for row in parsed] == [b"a", b"b", b"c"]


def test_a_manifest_in_parquet_is_still_one(tmp_path):
    path = write(tmp_path / "m.parquet", {"image": ["a.jpg"], "label": ["l"], "boxes": [[]]})
    assert rows(path) == list(parse_rows(path))
    assert rows(path)[0].sample.image == str(tmp_path / "a.jpg")


# --------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        (
            {"image": structs(b"a"), "boxes": [[]]},
            "the column label is missing; .*; the file has: image, boxes",
        ),
        ({"image": structs(b"a"), "label": ["l"]}, "no column gives the region"),
        ({"image": structs(b"a"), "label": [3], "boxes": [[]]}, "holds numbers and the schema does not name them"),
        ({"image": structs(b"a"), "label": ["l"], "mask": ["m.png"]}, "`mask` must hold pictures"),
        ({"image": structs(None), "label": ["l"], "boxes": [[]]}, "names files and does not hold their bytes"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, columns, what):
    with pytest.raises(DataError, match=what):
        rows(write(tmp_path / "d.parquet", columns))


def test_a_later_file_without_pictures(tmp_path):
    write(tmp_path / "0.parquet", THREE)
    write(tmp_path / "1.parquet", {**THREE, "image": ["a", "b", "c"]})
    with pytest.raises(DataError, match=r"1.parquet: no column `image` holds pictures"):
        rows(tmp_path / "*.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_what_is_no_parquet(tmp_path, content):
    (tmp_path / "d.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"d.parquet cannot be read as a Parquet file"):
        rows(tmp_path / "d.parquet")


def test_bad_rows_are_problems(tmp_path):
    columns = {
        "image": structs(b"a", b"b", b"c"),
        "label": ["l", None, "l"],
        "objects": [{"bbox": [[1, 2, -3, 4]]}] * 3,
    }
    parsed = rows(write(tmp_path / "d.parquet", columns))
    assert [len(row.problems) for row in parsed] == [1, 2, 1]
    assert "x0 <= x1" in messages(parsed)[0]


def test_a_file_cut_in_its_text_loses_its_rows_and_the_next_is_read(tmp_path):
    path = write(tmp_path / "0.parquet", {**THREE, "label": ["l" * 50] * 3}, use_dictionary=False, compression="gzip")
    offset = parquet.ParquetFile(path).metadata.row_group(0).column(2).data_page_offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 60] = bytes(60)
    path.write_bytes(data)
    write(tmp_path / "1.parquet", THREE)
    parsed = rows(tmp_path / "*.parquet")
    assert len(parsed) == 4
    assert "are lost: write it anew" in messages(parsed)[0]
    assert [row.sample.id for row in parsed[1:]] == ["1.parquet:1", "1.parquet:2", "1.parquet:3"]


# ---------------------------------------------------------------------------------------------------- what is read


def test_indexing_reads_no_picture(tmp_path):
    size = 1 << 20
    path = write(tmp_path / "d.parquet", {**THREE, "image": structs(*[os.urandom(size)] * 3)}, use_dictionary=False)
    before = pa.total_allocated_bytes()
    stream = open_rows(str(path))
    next(stream)
    assert pa.total_allocated_bytes() - before < size // 2


def test_groups_are_held_within_their_bytes(tmp_path, own_groups):
    images = [bytes([number]) * 1000 for number in range(40)]
    columns = {"image": structs(*images), "label": ["l"] * 40, "boxes": [[]] * 40}
    parsed = rows(write(tmp_path / "d.parquet", columns, rows=5))
    own_groups.held_bytes = 20_000
    for row, data in zip(parsed, images, strict=True):
        assert read_bytes(row.sample.image) == data
        assert own_groups.nbytes <= 20_000
    assert own_groups.nbytes > 10_000
    own_groups.held_bytes = 100
    assert read_bytes(parsed[0].sample.image) == images[0]
    assert own_groups.nbytes < 7_000


def test_threads_read_the_same(tmp_path, own_groups):
    images = [bytes([number]) * 1000 for number in range(40)]
    columns = {"image": structs(*images), "label": ["l"] * 40, "boxes": [[]] * 40}
    parsed = rows(write(tmp_path / "d.parquet", columns, rows=5))
    own_groups.held_bytes = 12_000
    order = parsed[::-3] + parsed
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: read_bytes(row.sample.image), order))
    assert found == [images[row.row - 1] for row in order]


@pytest.mark.parametrize("dictionary", [False, True])
def test_a_group_that_decompresses_beyond_the_limit(tmp_path, own_groups, dictionary):
    """With a dictionary the footer says little: one large value, repeated by a few bits."""
    columns = {"image": structs(*[bytes(10_000)] * 300), "label": ["l"] * 300, "boxes": [[]] * 300}
    path = write(tmp_path / "d.parquet", columns, rows=300, use_dictionary=dictionary)
    own_groups.group_bytes = 200_000
    first = rows(path)[0]
    before = pa.total_allocated_bytes()
    with pytest.raises(SampleError, match="the limit is 200,000; write the file with smaller row groups"):
        read_bytes(first.sample.image)
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_text_that_decompresses_beyond_the_limit(tmp_path):
    columns = {**THREE, "label": [str(number) * 1000 for number in range(3)]}
    parsed = list(picture_rows([str(write(tmp_path / "d.parquet", columns))], group_bytes=2000))
    assert "the text of row group 0 takes" in messages(parsed)[0]


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("parquet:0/0/image:{}/none.parquet", "no such file"),
        ("parquet:9/0/image:{}/d.parquet", "cannot be read"),
        ("parquet:0/99/image:{}/d.parquet", "cannot be read"),
        ("parquet:0/0/mask:{}/d.parquet", "cannot be read"),
        ("parquet:1/0/image:{}/d.parquet", "has no bytes in its image"),
    ],
)
def test_places_that_cannot_be_read(tmp_path, place, what):
    write(tmp_path / "d.parquet", {**THREE, "image": structs(b"a", b"b", None)})
    with pytest.raises(SampleError, match=what):
        read_bytes(place.format(tmp_path))


def test_too_large_a_picture(tmp_path, monkeypatch):
    parsed = rows(write(tmp_path / "d.parquet", {**THREE, "image": structs(b"a", b"b" * 10, b"")}))
    monkeypatch.setenv("RATE_MAX_BYTES", "5")
    assert read_bytes(parsed[0].sample.image) == b"a"
    with pytest.raises(SampleError, match="has 10 bytes, the limit is 5"):
        read_bytes(parsed[1].sample.image)
    with pytest.raises(SampleError, match="is empty"):
        read_bytes(parsed[2].sample.image)


def test_places_are_relative_as_their_file_is(tmp_path):
    assert Folder(tmp_path).relative(f"parquet:1/2/image:{tmp_path}/d.parquet") == "parquet:1/2/image:d.parquet"
