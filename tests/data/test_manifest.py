"""Manifests: what is accepted, what is refused and how clearly, and what their digest depends on."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from rate.data.formats.manifest_files import Raw, write_rows
from rate.data.manifest import SHOWN_PROBLEMS, Manifest, read_manifest
from rate.data.storage.limits import LINE_CHARS
from rate.errors import DataError

SUFFIXES = (".csv", ".jsonl", ".parquet")


def jsonl(folder: Path, *rows: object) -> Path:
    path = folder / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def text(folder: Path, content: str, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        read_manifest(path, **options)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------ properties

words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=12
).filter(str.strip)
names = st.text("abcdefgh .,;\"'äß語\n", min_size=1, max_size=10).filter(str.strip).map(lambda name: f"i/{name}.png")
corner = st.integers(-9, 999) | st.floats(-1e6, 1e6)
boxes = st.tuples(corner, corner, corner, corner).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])]
)


@st.composite
def rows(draw) -> Raw:
    row: Raw = {"id": draw(words), "image": draw(names), "label": draw(words)}
    kind = draw(st.sampled_from(["mask", "boxes", "corners"]))
    if kind == "mask":
        row["mask"] = draw(names)
    elif kind == "boxes":
        row["boxes"] = draw(st.lists(boxes, max_size=3))
    else:
        row |= dict(zip(("x0", "y0", "x1", "y1"), draw(boxes), strict=True))
    if draw(st.booleans()):
        row["group"] = draw(words)
    if draw(st.booleans()):
        row["cluster"] = draw(words)
    return row


tables = st.lists(rows(), min_size=1, max_size=5, unique_by=lambda row: row["id"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("set")


@given(tables)
@settings(max_examples=100)
def test_the_formats_say_the_same(folder, table):
    read = []
    for suffix in SUFFIXES:
        write_rows(folder / f"m{suffix}", table)
        read.append(read_manifest(folder / f"m{suffix}"))
    assert read[0].samples == read[1].samples == read[2].samples
    assert len({manifest.digest() for manifest in read}) == 1
    for sample, row in zip(read[0].samples, table, strict=True):
        for name in ("id", "label", "group", "cluster"):
            assert getattr(sample, name) == row.get(name)
        assert (sample.mask is None) != (sample.boxes is None)


@given(tables, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_order_of_rows_does_not_change_the_digest(folder, table, chance: random.Random):
    write_rows(folder / "o.jsonl", table)
    before = read_manifest(folder / "o.jsonl").digest()
    chance.shuffle(table)
    write_rows(folder / "o.jsonl", table)
    assert read_manifest(folder / "o.jsonl").digest() == before


@given(tables)
@settings(max_examples=30)
def test_reading_twice_gives_the_same(folder, table):
    write_rows(folder / "t.csv", table)
    first, second = read_manifest(folder / "t.csv"), read_manifest(folder / "t.csv")
    assert first == second
    assert first.digest() == second.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"id": "other"},
        {"label": "cat"},
        {"group": "g"},
        {"cluster": "c"},
        {"boxes": ((0.0, 0.0, 4.0, 4.5),)},
        {"boxes": ()},
        {"boxes": None, "mask": "{folder}/m.png"},
        {"image": "{folder}/b.jpg"},
    ],
)
def test_whatever_a_sample_is_changes_the_digest(tmp_path, change):
    manifest = read_manifest(jsonl(tmp_path, {"image": "a.jpg", "label": "dog", "boxes": [[0, 0, 4, 4]]}))
    change = {key: value.format(folder=tmp_path) if isinstance(value, str) else value for key, value in change.items()}
    changed = Manifest(manifest.path, (replace(manifest.samples[0], **change),))
    assert changed.digest() != manifest.digest()


def test_the_digest_moves_with_the_folder(tmp_path):
    digests = set()
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        row = {"image": "i/a.jpg", "label": "dog", "mask": "m/a.png"}
        digests.add(read_manifest(jsonl(tmp_path / place, row)).digest())
    assert len(digests) == 1


def test_equal_boxes_have_equal_digests(tmp_path):
    digests = [
        read_manifest(jsonl(tmp_path, {"image": "a", "label": "l", "boxes": [corners]})).digest()
        for corners in ([0, 0, 4, 4], [-0.0, 0.0, 4.0, 4])
    ]
    assert digests[0] == digests[1]


# -------------------------------------------------------------------------------------------------------- accepted


def test_one_row_in_full(tmp_path):
    path = text(tmp_path, 'id,image,label,boxes,split,group\n7,i/a.jpg,dog,"[[1, 2, 3.5, 4]]",test,g1\n')
    (sample,) = read_manifest(path).samples
    assert sample.id == "7"
    assert sample.image == str(tmp_path / "i" / "a.jpg")
    assert sample.boxes == ((1.0, 2.0, 3.5, 4.0),)
    assert (sample.label, sample.mask, sample.group, sample.row) == ("dog", None, "g1", 1)


def test_the_id_is_the_image_as_written(tmp_path):
    path = jsonl(tmp_path, {"image": "./a.jpg", "label": "dog", "mask": "a.png"})
    assert read_manifest(path).samples[0].id == "./a.jpg"


def test_no_boxes_is_an_empty_region(tmp_path):
    path = text(tmp_path, "image,label,boxes\na.jpg,dog,[]\n")
    assert read_manifest(path).samples[0].boxes == ()


def test_rows_may_mix_masks_and_boxes(tmp_path):
    path = text(tmp_path, "image,label,mask,boxes,x0,y0,x1,y1\na,l,a.png,,,,,\nb,l,,[],,,,\nc,l, ,,1,2,3,4\n")
    regions = [(sample.mask, sample.boxes) for sample in read_manifest(path).samples]
    assert regions == [(str(tmp_path / "a.png"), None), (None, ()), (None, ((1.0, 2.0, 3.0, 4.0),))]


def test_unknown_columns_a_bom_blank_lines_and_spaces_in_the_head_do_no_harm(tmp_path):
    content = "\ufeffimage, label ,mask,score\r\n\r\na.jpg,dog,a.png,0.5\r\n\r\nb.jpg,cat,b.png,\r\n"
    samples = read_manifest(text(tmp_path, content)).samples
    assert [(sample.label, sample.row) for sample in samples] == [("dog", 1), ("cat", 2)]


def test_parquet_types_of_other_writers(tmp_path):
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "image": pa.array(["a", "b"]).dictionary_encode(),
            "label": pa.array(["dog", "cat"], pa.large_string()),
            "boxes": pa.array([[[0, 0, 1, 1]], None], pa.large_list(pa.list_(pa.int32(), 4))),
            "x0": pa.array([None, 1.0]),
            "y0": pa.array([None, 1.0]),
            "x1": pa.array([None, 2.0]),
            "y1": pa.array([None, 2.0]),
            "embedding": pa.array([[0.0], [1.0]]),
        }
    )
    parquet.write_table(table, tmp_path / "m.parquet")
    samples = read_manifest(tmp_path / "m.parquet").samples
    assert [(sample.id, sample.label, sample.boxes) for sample in samples] == [
        ("1", "dog", ((0.0, 0.0, 1.0, 1.0),)),
        ("2", "cat", ((1.0, 1.0, 2.0, 2.0),)),
    ]


def test_urls(tmp_path):
    path = jsonl(tmp_path, {"image": "memory://b/a.jpg", "label": "dog", "mask": "memory://b/a.png"})
    sample = read_manifest(path).samples[0]
    assert (sample.image, sample.mask) == ("memory://b/a.jpg", "memory://b/a.png")


def test_the_real_set(shared_data):
    manifest = read_manifest(shared_data / "caltech101-boxes" / "annotations.csv", split="test")
    assert len(manifest.samples) == 180
    assert all(Path(sample.image).is_file() for sample in manifest.samples)


# ---------------------------------------------------------------------------------------------------------- splits

SPLITS = "image,label,mask,split\na,l,m,train\nb,l,m,test\nc,l,m,test\n"


def test_a_split_is_picked(tmp_path):
    manifest = read_manifest(text(tmp_path, SPLITS), split="test")
    assert [(sample.id, sample.row) for sample in manifest.samples] == [("b", 2), ("c", 3)]
    assert manifest.notices == ()


def test_all_splits_together_are_noticed(tmp_path):
    manifest = read_manifest(text(tmp_path, SPLITS))
    assert len(manifest.samples) == 3
    (notice,) = manifest.notices
    assert "test (2 rows), train (1 rows); all 3 rows are used" in notice


@pytest.mark.parametrize("content", ["image,label,mask\na,l,m\n", "image,label,mask,split\na,l,m,test\n"])
def test_one_split_or_none_is_nothing_to_notice(tmp_path, content):
    assert read_manifest(text(tmp_path, content)).notices == ()


def test_a_split_nobody_is_in_is_refused(tmp_path):
    assert "no split 'val'; it has the splits test (2 rows), train (1 rows)" in refusal(
        text(tmp_path, SPLITS), split="val"
    )
    message = refusal(text(tmp_path, "image,label,mask\na,l,m\n"), split="val")
    assert "none of its rows names a split: leave --split out" in message


# ------------------------------------------------------------------------------------------------------- refused whole


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "", "image, label are missing; the file has: no columns at all"),
        ("m.csv", "image,label,mask\n", "has no rows"),
        ("m.csv", "image;label;mask\na;b;c\n", "image, label are missing; the file has: image;label;mask"),
        ("m.csv", "image,lable,mask\na,b,c\n", "the columns label are missing; the file has: image, lable, mask"),
        ("m.csv", "image,label\na,b\n", "no column gives the region; add `mask`, `boxes`, or x0, y0, x1, y1"),
        ("m.csv", "image,label,x0,y0,x1\na,b,1,2,3\n", "the columns y1 are missing"),
        ("m.csv", "image,label,mask,image\na,b,c,d\n", "the columns image appear twice"),
        ("m.jsonl", "", "has no rows"),
        ("m.jsonl", "\n \n", "has no rows"),
        ("m.parquet", "PAR1 but no more", "is not a Parquet file"),
        ("m.txt", "image", "ends in '.txt'; a manifest ends in .csv, .jsonl, .parquet"),
        ("m", "image", "ends in ''; a manifest ends in"),
    ],
)
def test_files_that_are_no_manifest(tmp_path, name, content, message):
    assert message in refusal(text(tmp_path, content, name))


def test_files_that_are_not_there(tmp_path):
    assert "does not exist" in refusal(tmp_path / "m.csv")
    (tmp_path / "images.csv").mkdir()
    assert "is a folder; `rate data index folder`" in refusal(tmp_path / "images.csv")


def test_parquet_without_columns_or_cut_short(tmp_path):
    path = tmp_path / "m.parquet"
    parquet.write_table(pa.table({"image": ["a"]}), path)
    assert "the columns label are missing; the file has: image" in refusal(path)
    write_rows(path, [{"image": str(i), "label": "l", "mask": "m"} for i in range(1000)])
    path.write_bytes(path.read_bytes()[:-100])
    assert "Parquet" in refusal(path)


def test_parquet_with_damaged_pages_names_the_row(tmp_path):
    path = tmp_path / "m.parquet"
    write_rows(path, [{"image": f"{i:08d}", "label": "l", "mask": "m"} for i in range(1000)])
    content = bytearray(path.read_bytes())
    content[40:400] = bytes(360)
    path.write_bytes(content)
    assert "row 1: cannot be read" in refusal(path)


# -------------------------------------------------------------------------------------------------------- refused rows


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label": "l", "mask": "m"}, "row 2: image is missing"),
        ({"image": " ", "label": "l", "mask": "m"}, "row 2: image is missing"),
        ({"image": "a", "mask": "m"}, "row 2: label is missing"),
        ({"image": "a", "label": "", "mask": "m"}, "row 2: label is missing"),
        (
            {"image": "a", "label": 3, "mask": "m"},
            "row 2: label must be the name of a class, got 3; write it as a text",
        ),
        ({"image": "a", "label": True, "mask": "m"}, "row 2: label must be the name of a class, got True"),
        ({"image": ["a"], "label": "l", "mask": "m"}, "row 2: image must be a text, got ['a']"),
        ({"image": "a\ud800", "label": "l", "mask": "m"}, "row 2: image is not valid Unicode text: 'a\\ud800'"),
        ({"image": "a", "label": "l"}, "row 2: needs one region, got none"),
        ({"image": "a", "label": "l", "mask": None, "boxes": None}, "row 2: needs one region, got none"),
        ({"image": "a", "label": "l", "mask": "m", "boxes": []}, "row 2: needs one region, got mask and boxes"),
        ({"image": "a", "label": "l", "x0": 1, "boxes": []}, "row 2: needs one region, got boxes and x0, y0, x1, y1"),
        ({"image": "a", "label": "l", "x0": 1, "y0": 2, "x1": 3}, "row 2: must give 4 finite numbers"),
        ({"image": "a", "label": "l", "mask": 1.5}, "row 2: mask must be a text, got 1.5"),
        ({"image": "a", "label": "l", "boxes": {"x0": 1}}, "row 2: boxes must be a list of boxes"),
        ({"image": "a", "label": "l", "boxes": [1, 2, 3, 4]}, "row 2: boxes must be a list of boxes"),
        ({"image": "a", "label": "l", "boxes": [[1, 2, 3]]}, "row 2: boxes must give 4 finite numbers"),
        ({"image": "a", "label": "l", "boxes": [[1, 2, 3, None]]}, "row 2: boxes must give 4 finite numbers"),
        ({"image": "a", "label": "l", "boxes": [[1, 2, 3, True]]}, "row 2: boxes must give 4 finite numbers"),
        ({"image": "a", "label": "l", "boxes": [[1, 2, 3, math.nan]]}, "row 2: boxes must give 4 finite numbers"),
        ({"image": "a", "label": "l", "boxes": [[1, 2, 3, math.inf]]}, "row 2: boxes must give 4 finite numbers"),
        ({"image": "a", "label": "l", "boxes": [[1, 2, 3, 10**400]]}, "row 2: boxes must give 4 finite numbers"),
        ({"image": "a", "label": "l", "boxes": [[9, 2, 3, 4]]}, "row 2: boxes must have x0 <= x1 and y0 <= y1"),
        ({"image": "a", "label": "l", "boxes": [[0, 9, 3, 4]]}, "boxes are corners, not x, y, width, height"),
        ({"image": "a", "label": "l", "boxes": "[[1,"}, "row 2: boxes is not JSON"),
        ({"image": "a", "label": "l", "boxes": "[" * 100_000}, "row 2: boxes is not JSON"),
        ({"image": "../a", "label": "l", "mask": "m"}, "row 2: image '../a' leaves the manifest's folder"),
        ({"image": "a", "label": "l", "mask": "/m"}, "row 2: mask '/m' is an absolute path"),
        ({"image": "file:///a", "label": "l", "mask": "m"}, "row 2: image 'file:///a' is an absolute path"),
        ({"image": "good.jpg", "label": "l", "mask": "m"}, "row 2: id 'good.jpg' is already the id of row 1"),
        (
            {"id": "good.jpg", "image": "b", "label": "l", "mask": "m"},
            "row 2: id 'good.jpg' is already the id of row 1",
        ),
        ([1], "row 2: must be an object"),
        ("text", "row 2: must be an object"),
    ],
)
def test_rows_that_are_wrong(tmp_path, row, message):
    found = refusal(jsonl(tmp_path, {"image": "good.jpg", "label": "l", "mask": "m"}, row))
    assert message in found
    assert "cannot be used, 1 problem:" in found


@pytest.mark.parametrize("line", ["{", "nonsense", "[" * 100_000, '{"image": ' + "1" * 5000 + "}"])
def test_lines_that_are_no_json(tmp_path, line):
    found = refusal(text(tmp_path, line + '\n{"image": "a", "label": "l", "mask": "m"}\n', "m.jsonl"))
    assert "row 1: " in found
    assert "row 2" not in found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,l\n", "row 1: has 2 cells, the header has 3; quote cells that hold commas"),
        ("a,l,m,n\n", "row 1: has 4 cells"),
        ('a,l,m\nb,l,"m\n', "row 2: cannot be read"),
        ("a,l," + "m" * 200_000 + "\n", "row 1: cannot be read (field larger than field limit (131072))"),
    ],
)
def test_csv_that_is_wrong(tmp_path, content, message):
    assert message in refusal(text(tmp_path, "image,label,mask\n" + content))


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_text_that_is_not_utf_8(tmp_path, name):
    (tmp_path / name).write_bytes("image,label,mask\nä,b,c\n".encode("latin-1"))
    assert "row 1: cannot be read ('utf-8' codec" in refusal(tmp_path / name)


def test_all_problems_come_at_once_counted_and_capped(tmp_path):
    path = jsonl(tmp_path, *[{"image": f"{i}"} for i in range(30)])
    lines = refusal(path).splitlines()
    assert "60 problems" in lines[0]  # label and region of each
    assert len(lines) == SHOWN_PROBLEMS + 2
    assert lines[1:3] == ["  row 1: label is missing", f"  {lines[2].strip()}"]
    assert "needs one region" in lines[2]
    assert lines[-1].startswith(f"  and {60 - SHOWN_PROBLEMS} more; `rate data check")


def test_every_problem_of_a_row_is_named(tmp_path):
    found = refusal(jsonl(tmp_path, {"image": "/a", "label": 5, "boxes": [[1]], "group": 0.5}))
    for message in ("image '/a'", "label must be", "boxes must give", "group must be"):
        assert message in found


def test_rows_of_other_splits_must_be_right_too(tmp_path):
    path = text(tmp_path, "image,label,mask,split\n/a,l,m,train\nb,l,m,test\n")
    assert "row 1: image" in refusal(path, split="test")


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_a_line_that_never_ends_is_not_held(tmp_path, name):
    content = {"m.csv": 'image,label,mask\na,l,"', "m.jsonl": '{"image": "'}[name]
    path = text(tmp_path, content + "x" * LINE_CHARS, name)
    assert "row 1: cannot be read (a line of more than 16,777,216 characters)" in refusal(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image": "a", "label": "l", "boxes": [[0, 0, 1, %s]]}' % ("9" * 5000), "is not JSON"),
        ('{"image": "a", "label": "l", "boxes": [[0, 0, 1, 1e999]]}', "4 finite numbers"),
        ('{"image": "a", "label": "l", "boxes": [[0, 0, 1, NaN]]}', "4 finite numbers"),
        ('{"image": "a", "label": "l", "boxes": [[0, 0, 1, %s]]}' % ("9" * 400), "4 finite numbers"),
        ('{"image": "a", "label": "l", "boxes": %s}' % ("[" * 100_000), "is not JSON"),
        ('{"image": "a", "label": Infinity, "boxes": []}', "label must be a text, got inf"),
    ],
    ids=["5000 digits", "1e999", "NaN", "400 digits", "nested", "Infinity"],
)
def test_numbers_and_nesting_that_json_allows_and_no_machine_holds(tmp_path, line, message):
    found = refusal(text(tmp_path, line + "\n", "m.jsonl"))
    assert message in found
    assert len(found) < 1000


def test_the_id_of_a_url_is_without_its_credentials(tmp_path: Path) -> None:
    lines = [
        {"image": "memory://me:secret@h/a.png?X-Amz-Signature=1", "label": "x", "boxes": []},
        {"image": "memory://h/b.png?sig=2", "id": "memory://h/b.png?sig=2", "label": "x", "boxes": []},
        {"image": "c?sig=3.png", "label": "x", "boxes": []},
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    samples = read_manifest(tmp_path / "m.jsonl").samples
    assert [sample.id for sample in samples] == ["memory://h/a.png", "memory://h/b.png", "c?sig=3.png"]
    assert samples[0].image == lines[0]["image"]  # what is read is the whole URL
