"""Rows that are checked as columns are what they are row by row: samples, digests, stamps, and who is refused."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rate.data.blocks import Block, hash_of_files, plain_block
from rate.data.digests import fingerprint, sample_digest
from rate.data.formats.manifest_blocks import read_blocks, read_rows
from rate.data.formats.manifest_files import Raw, write_rows
from rate.data.manifest import parse_rows
from rate.data.open_data import open_blocks
from rate.data.storage.location import Folder

SUFFIXES = (".csv", ".jsonl", ".parquet")
IMAGES = ("a.png", "b c.png", "deep/ä.png", "deep/it's.png")
corner = st.sampled_from([0, 1, 2.5, -0.0, 1e20, 1e-7, 3.25]) | st.floats(0, 1e6)
box = st.tuples(corner, corner, corner, corner).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])]
)
name = st.sampled_from(["x", "dog", "ß", 'a "b"', "it's", "back\\slash", "tab\t", "7", " lead"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    for image in IMAGES:
        (folder / image).parent.mkdir(exist_ok=True)
        (folder / image).write_bytes(image.encode())
    (folder / "link.png").symlink_to(folder / "a.png")
    (folder / "away.png").symlink_to("/etc/hostname")
    return folder


@st.composite
def tables(draw: st.DrawFn) -> list[Raw]:
    kind = draw(st.sampled_from(["mask", "boxes", "corners"]))
    optional = draw(st.sets(st.sampled_from(["id", "group", "cluster", "split"])))
    rows: list[Raw] = []
    for _ in range(draw(st.integers(1, 5))):
        row: Raw = {"image": draw(st.sampled_from(IMAGES)), "label": draw(name)}
        row |= {column: draw(name | st.none()) for column in sorted(optional)}
        if kind == "mask":
            row["mask"] = draw(st.sampled_from(IMAGES))
        elif kind == "boxes":
            row["boxes"] = draw(st.lists(box, max_size=3))
        else:
            row |= dict(zip(("x0", "y0", "x1", "y1"), draw(box), strict=True))
        rows.append(row)
    return rows


def agree(path: Path, blocks: list[Block]) -> None:
    rows, folder = list(parse_rows(path)), Folder(path.parent)
    valid = [row for row in rows if row.sample is not None]
    read = [(block, k, one) for block in blocks for k, one in enumerate(block.samples(np.arange(len(block))))]
    assert [row for block in blocks for row in block.refused] == [row for row in rows if row.sample is None]
    for (block, k, sample), row in zip(read, valid, strict=True):
        assert row.sample is not None
        assert (sample, sample.row, block.splits[k]) == (row.sample, row.row, row.split)
        assert (sample.image_stamp, sample.mask_stamp) == (row.sample.image_stamp, row.sample.mask_stamp)
        assert (block.ids[k].decode(), block.labels[k]) == (sample.id, sample.label)
        assert block.digests[32 * k : 32 * k + 32] == sample_digest(sample, folder)
        assert int(block.names[k]) == fingerprint(sample.id)
        assert int(block.files[k]) == hash_of_files(sample.image_stamp, sample.mask_stamp)
        assert not sample.boxes or block.has_boxes


@given(tables(), st.sampled_from(SUFFIXES))
@settings(max_examples=150)
def test_columns_say_what_rows_say(folder: Path, table: list[Raw], suffix: str) -> None:
    path = folder / f"m{suffix}"
    write_rows(path, table)
    for raw in read_blocks(path):
        assert plain_block(raw, Folder(folder)) is not None or suffix == ".csv", "the rows are valid and alike"
    agree(path, list(open_blocks(str(path))))


@pytest.mark.parametrize(
    "row",
    [
        {"image": "away.png"},
        {"image": "../set/a.png"},
        {"image": "missing.png"},
        {"image": "link.png"},
        {"image": "deep"},
        {"image": "./a.png"},
        {"image": "deep//ä.png"},
        {"image": "C:/a.png"},
        {"image": "s3://b/a.png?X-Amz-Signature=1"},
        {"image": "file:///a.png"},
        {"image": " "},
        {"label": None},
        {"label": "\u2003"},
        {"label": 3},
        {"id": "s3://b/a?sig=1"},
        {"id": 7},
        {"id": True},
        {"group": ""},
        {"boxes": None},
        {"boxes": [[0, 0, 1]]},
        {"boxes": [[0, 0, 1, float("nan")]]},
        {"boxes": [[0, 0, 1, "1"]]},
        {"boxes": [[2, 0, 1, 1]]},
        {"boxes": None, "mask": "a.png"},
        {"mask": "a.png"},
    ],
    ids=str,
)
def test_a_row_that_is_unlike_the_others_is_read_as_ever(folder: Path, row: Raw) -> None:
    usual: Raw = {"image": "a.png", "label": "dog", "boxes": [[0, 0, 1, 1]]}
    path = folder / "odd.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (usual, usual | row, usual)))
    agree(path, list(open_blocks(str(path))))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_remote_objects_are_read_row_by_row(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    write_rows(path, [{"image": f"memory://b/{k}.png", "label": "x", "mask": f"memory://m/{k}.png"} for k in range(3)])
    blocks = list(open_blocks(str(path)))
    assert [block.has_objects for block in blocks] == [True]
    agree(path, blocks)


cells = st.lists(
    st.text('ab,"\n\r \0é', max_size=5) | st.sampled_from(['"a"', '"a,b"', '"a""b"', "", '"a"b']), max_size=4
)


@given(st.lists(cells.map(",".join), max_size=6), st.sampled_from(["\n", "\r\n", "\r"]))
@settings(max_examples=400)
def test_every_csv_is_read_as_python_reads_it(folder: Path, lines: list[str], end: str) -> None:
    path = folder / "any.csv"
    content = end.join(["image,label,mask", *lines])
    path.write_bytes(content.encode())
    expected: list[list[str]] = []
    try:
        expected += filter(None, csv.reader(io.StringIO(content, newline=""), strict=True))
    except csv.Error:
        expected.append(["cannot be read"])
    rows = list(read_rows(path))
    assert len(rows) == len(expected) - 1
    for row, values in zip(rows, expected[1:], strict=True):
        if isinstance(row, tuple):
            assert list(row[1].values()) == values
        else:
            assert len(values) != 3


def test_a_long_file_changes_readers_where_its_lines_are_no_longer_plain(folder: Path) -> None:
    plain = "".join(f'a.png,{k},"[[0, 0, 1, {k + 1}]]"\n' for k in range(20_000))
    path = folder / "long.csv"
    path.write_text("image,label,boxes\n" + plain + 'a.png,"two\nlines",[]\n' + plain)
    rows = list(read_rows(path))
    assert [row[0] for row in rows if isinstance(row, tuple)] == list(range(1, 40_002))
    assert [row[1]["label"] for row in rows[19_999:20_002] if isinstance(row, tuple)] == ["19999", "two\nlines", "0"]


def test_arrow_calls_those_characters_blank_that_python_calls_blank() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    blank = pc.utf8_is_space(pa.array(characters)).to_numpy(zero_copy_only=False)
    differing = [c for c, said in zip(characters, blank.tolist(), strict=True) if c.isspace() and not said]
    assert differing == []
