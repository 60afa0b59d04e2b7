"""`rate data`: what is printed where, and what ends in exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from rate.cli.main import app
from rate.data.manifest import read_manifest
from rate.errors import EXIT_USAGE, ConfigError, DataError, UsageError


def rate_data(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("images/dog/a.jpg", "images/cat/b.jpg", "images/cat/c.jpg", "masks/dog/a.png", "masks/cat/b.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("L", (8, 8))
        image.paste(255, (0, 0, 4, 4))
        image.save(path)
    return tmp_path


def test_index_then_check(root):
    out = root / "m.csv"
    indexed = rate_data("index", "folder", root / "images", "--masks", root / "masks", "--out", out)
    assert indexed.exit_code == 0
    assert indexed.stdout == f"{out}: 2 rows\nclass    cat: 1\nclass    dog: 1\n"
    assert "1 images without a mask were left out: images/cat/c.jpg" in indexed.stderr
    assert len(read_manifest(out).samples) == 2
    checked = rate_data("check", out)
    assert checked.exit_code == 0
    assert checked.stdout.splitlines() == [
        f"{out}: 2 rows, 2 samples looked at",
        "class    cat: 1",
        "class    dog: 1",
        "0 errors, 0 warnings",
    ]


def test_index_with_splits_and_a_pattern(root):
    (root / "images").rename(root / "test")
    (root / "i").mkdir()
    (root / "m").mkdir()
    (root / "test").rename(root / "i/test")
    (root / "masks").rename(root / "m/test")
    arguments = ("--masks", root / "m", "--out", root / "m.jsonl", "--splits", "--mask-pattern", "{stem}.png")
    assert "split    test: 2" in rate_data("index", "folder", root / "i", *arguments).stdout
    assert len(read_manifest(root / "m.jsonl", split="test").samples) == 2


def test_index_without_masks_is_a_usage_error(root):
    result = rate_data("index", "folder", root / "images", "--out", root / "m.csv")
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == EXIT_USAGE
    assert "--masks DIR" in str(result.exception)


def test_index_refuses_a_pattern(root):
    arguments = ("--masks", root / "masks", "--out", root / "m.csv", "--mask-pattern", "x.png")
    assert isinstance(rate_data("index", "folder", root / "images", *arguments).exception, ConfigError)


@pytest.fixture
def broken(root: Path) -> Path:
    path = root / "broken.csv"
    path.write_text(
        "image,label,boxes,split\n"
        "images/dog/a.jpg,dog,[],test\n"
        'images/cat/none.jpg,cat,"[[0,0,1,1]]",test\n'
        "/etc/passwd,cat,[],train\n"
    )
    return path


def test_check_prints_every_problem_and_then_fails(broken):
    result = rate_data("check", broken)
    lines = result.stdout.splitlines()
    assert lines[1:5] == ["split    test: 2", "split    train: 1", "class    cat: 1", "class    dog: 1"]
    assert lines[5].startswith("warning  row 1: gives an empty region")
    assert lines[6].startswith("error    row 2: image ")
    assert lines[6].endswith("none.jpg: no such file")
    assert lines[7].startswith("error    row 3: image '/etc/passwd' is an absolute path")
    assert lines[8] == "2 errors, 1 warning"
    assert isinstance(result.exception, DataError)
    assert str(result.exception) == f"{broken} has 2 errors; --json lists each with its row"


def test_problems_of_a_kind_are_counted_after_the_first_three(root):
    path, others = root / "m.csv", "".join(f'images/cat/{k}.jpg,cat,"[[0,0,1,1]]"\n' for k in range(7))
    path.write_text(f"image,label,boxes\nimages/dog/a.jpg,dog,[]\n{others}")
    lines = rate_data("check", path).stdout.splitlines()
    assert [line.split(": ")[0] for line in lines[3:7]] == ["warning  row 1", *(f"error    row {k}" for k in (2, 3, 4))]
    assert lines[7:] == ["error    and 4 more like these; --json lists all", "7 errors, 1 warning"]
    assert len(json.loads(rate_data("check", path, "--json").stdout)["problems"]) == 8


def test_warnings_alone_are_no_failure(root):
    path = root / "m.csv"
    path.write_text("image,label,boxes\nimages/dog/a.jpg,dog,[]\n")
    result = rate_data("check", path)
    assert result.exit_code == 0
    assert result.stdout.endswith("0 errors, 1 warning\n")


def test_check_for_machines(broken):
    result = rate_data("check", broken, "--json")
    assert isinstance(result.exception, DataError)
    report = json.loads(result.stdout)
    assert (report["rows"], report["errors"], report["warnings"]) == (3, 2, 1)
    assert [problem["row"] for problem in report["problems"]] == [1, 2, 3]


def test_check_options(root, broken):
    classes = root / "classes.txt"
    classes.write_text("dog\n\n cow \n")
    result = rate_data("check", broken, "--no-decode", "--split", "test", "--classes", classes, "--threads", "1")
    assert "row 2: label 'cat' is none of the 2 classes" in result.stdout
    assert "empty region" not in result.stdout
    assert "no split 'val'" in rate_data("check", broken, "--split", "val").stdout


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"\xff\xff"])
def test_class_files_that_are_none(root, broken, content):
    path = root / "classes.txt"
    if content is not None:
        path.write_bytes(content)
    result = rate_data("check", broken, "--classes", path)
    assert isinstance(result.exception, DataError)
    assert "one name a line" in str(result.exception)
    assert result.stdout == ""


def test_a_manifest_that_is_not_there(root):
    result = rate_data("check", root / "none.csv")
    assert isinstance(result.exception, DataError)
    assert "does not exist" in result.stdout


def test_pack_then_check(root):
    out = root / "m.csv"
    rate_data("index", "folder", root / "images", "--masks", root / "masks", "--out", out)
    packed = rate_data("pack", out, "--out", root / "shards", "--shard-samples", "1")
    pattern = f"{root / 'shards'}/{{000000..000001}}.tar"
    assert packed.exit_code == 0
    assert packed.stdout == f"{pattern}: 2 samples in 2 shards, 20,480 bytes\n"
    checked = rate_data("check", pattern)
    assert checked.stdout.splitlines() == [
        f"{pattern}: 2 rows, 2 samples looked at",
        "class    cat: 1",
        "class    dog: 1",
        "0 errors, 0 warnings",
    ]
    again = rate_data("pack", pattern, "--out", root / "again", "--json")
    report = json.loads(again.stdout)
    assert report == {
        "schema": "rate.pack/1",
        "pattern": f"{root / 'again'}/000000.tar",
        "shards": 1,
        "samples": 2,
        "bytes": 10240,
    }


def test_pack_refuses_what_is_there(root):
    result = rate_data("pack", root / "m.csv", "--out", root / "images")
    assert isinstance(result.exception, UsageError)
    assert "choose a new one" in str(result.exception)


def test_index_coco(root):
    value = {
        "images": [{"id": 1, "file_name": "dog/a.jpg", "width": 8, "height": 8}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 4, 4]}],
    }
    (root / "c.json").write_text(json.dumps(value))
    arguments = ("index", "coco", root / "c.json", "--images", root / "images", "--out", root / "m.csv")
    result = rate_data(*arguments)
    assert result.stdout == f"{root / 'm.csv'}: 1 row\nclass    dog: 1\n"
    assert result.stderr == "1 annotations are crowds; they are part of their class's region\n"
    assert read_manifest(root / "m.csv").samples[0].boxes == ((0.0, 0.0, 4.0, 4.0),)
    refused = rate_data(*arguments, "--max-json-bytes", "10")
    assert "the limit is 10; --max-json-bytes" in str(refused.exception)
    assert "neither polygons nor run lengths" in str(rate_data(*arguments, "--regions", "masks").exception)


def test_help_shows_all():
    text = rate_data("--help").stdout
    assert all(verb in text for verb in ("index", "check", "pack"))
    assert all(layout in rate_data("index", "--help").stdout for layout in ("folder", "coco"))
