"""The check names every problem with its row, and nothing that is right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shard_files import picture, write_shards

from rate.data.images.geometry import Geometry
from rate.data.make.check import check_manifest
from rate.data.manifest import read_manifest
from rate.errors import ConfigError, DataError
from rate.records import written

GEOMETRY = Geometry(8, 8, (0.0,) * 3, (1.0,) * 3)


def image(folder: Path, name: str, size: tuple[int, int] = (20, 10)) -> str:
    Image.new("RGB", size).save(folder / name)
    return name


def mask(folder: Path, name: str, size: tuple[int, int] = (20, 10), box: tuple[int, ...] = (1, 1, 9, 9)) -> str:
    values = np.zeros(size[::-1], np.uint8)
    values[box[1] : box[3], box[0] : box[2]] = 255
    Image.fromarray(values).save(folder / name)
    return name


def write(folder: Path, *rows: object) -> Path:
    path = folder / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def found(path: Path, **options: object) -> list[tuple[int, str | None, str, str]]:
    return [(p.row, p.column, p.severity, p.message) for p in check_manifest(path, **options).problems]


@pytest.fixture
def good(tmp_path: Path) -> list[dict[str, object]]:
    return [
        {"image": image(tmp_path, "a.png"), "label": "dog", "mask": mask(tmp_path, "am.png"), "split": "test"},
        {"image": image(tmp_path, "b.png"), "label": "cat", "boxes": [[0, 0, 20.6, 5]], "split": "train"},
    ]


def test_nothing_wrong_nothing_said(tmp_path, good):
    report = check_manifest(write(tmp_path, *good), classes=["dog", "cat"], geometry=GEOMETRY)
    assert report.problems == ()
    assert (report.rows, report.samples, report.errors, report.warnings) == (2, 2, 0, 0)
    assert (report.classes, report.splits) == ({"cat": 1, "dog": 1}, {"test": 1, "train": 1})


@pytest.mark.parametrize(("clusters", "alone", "said"), [(3, 0, 3), (9, 0, 9), (10, 0, None), (3, 6, 9), (3, 7, None)])
def test_too_few_clusters_to_resample_are_a_warning(tmp_path, clusters, alone, said):
    """A sample without a cluster is one of its own, wherever it stands."""
    image(tmp_path, "a.png")
    rows = [{"id": f"s{k}", "cluster": None if k < alone else f"c{k % clusters}"} for k in range(alone + 3 * clusters)]
    path = write(tmp_path, *(row | {"image": "a.png", "label": "dog", "boxes": [[0, 0, 5, 5]]} for row in rows))
    assert [(column, severity, message.split()[1]) for _, column, severity, message in found(path)] == (
        [] if said is None else [("cluster", "warning", str(said))]
    )


def test_the_real_set_is_clean(shared_data):
    report = check_manifest(shared_data / "caltech101-boxes" / "annotations.csv")
    assert (report.rows, report.errors, report.splits) == (450, 0, {"test": 180, "train": 270})


@pytest.mark.parametrize("decode", [True, False])
def test_missing_files(tmp_path, good, decode):
    rows = [*good, {"image": "x.png", "label": "dog", "mask": "xm.png"}]
    problems = found(write(tmp_path, *rows), decode=decode)
    assert [(row, column, severity) for row, column, severity, _ in problems] == [
        (3, "image", "error"),
        (3, "mask", "error"),
    ]
    assert all("no such file" in message for *_, message in problems)


def test_only_decoding_finds_what_is_broken(tmp_path, good):
    (tmp_path / "text.jpg").write_text("text")
    path = write(tmp_path, {"image": "text.jpg", "label": "dog", "boxes": [[0, 0, 1, 1]]}, *good)
    assert found(path, decode=False) == []
    ((row, column, severity, message),) = found(path)
    assert (row, column, severity) == (1, "image", "error")
    assert "is not an image" in message


def test_a_mask_of_another_size(tmp_path):
    row = {"image": image(tmp_path, "a.png"), "label": "dog", "mask": mask(tmp_path, "m.png", (10, 20))}
    ((_, column, severity, message),) = found(write(tmp_path, row))
    assert (column, severity) == ("mask", "error")
    assert "the mask is 10 x 20 pixels" in message


@pytest.mark.parametrize("box", [[-2, 0, 5, 5], [0, -2, 5, 5], [0, 0, 22, 5], [0, 0, 5, 12]])
def test_boxes_outside_the_image(tmp_path, box):
    row = {"image": image(tmp_path, "a.png"), "label": "dog", "boxes": [[0, 0, 3, 3], box]}
    ((_, _, severity, message),) = found(write(tmp_path, row))
    assert severity == "error"
    assert message.startswith(f"box 2 [{box[0]}, {box[1]}, {box[2]}, {box[3]}] leaves the image of 20 x 10 pixels")


@pytest.mark.parametrize("geometry", [None, GEOMETRY])
@pytest.mark.parametrize(
    ("region", "what"),
    [
        ({"boxes": []}, "an empty region"),
        ({"boxes": [[3, 3, 3, 9]]}, "an empty region"),
        ({"boxes": [[0, 0, 20, 10]]}, "a region of the whole image"),
        ({"boxes": [[0, 0, 11, 10], [11, 0, 20, 10]]}, "a region of the whole image"),
        ({"mask": (0, 0, 0, 0)}, "an empty region"),
        ({"mask": (0, 0, 20, 10)}, "a region of the whole image"),
    ],
)
def test_empty_and_full_regions_are_warnings(tmp_path, region, what, geometry):
    if "mask" in region:
        region = {"mask": mask(tmp_path, "m.png", box=region["mask"])}
    path = write(tmp_path, {"image": image(tmp_path, "a.png"), "label": "dog", **region})
    report = check_manifest(path, geometry=geometry)
    assert (report.errors, report.warnings) == (0, 1)
    assert what in report.problems[0].message


def test_a_geometry_sees_what_its_crop_leaves(tmp_path):
    """A box at the border of a wide image is gone after the crop."""
    path = write(tmp_path, {"image": image(tmp_path, "a.png"), "label": "dog", "boxes": [[0, 0, 4, 10]]})
    assert found(path) == []
    ((*_, message),) = found(path, geometry=GEOMETRY)
    assert "empty region" in message


def test_a_geometry_that_would_blow_an_image_up(tmp_path):
    path = write(tmp_path, {"image": image(tmp_path, "a.png", (3_000_000, 1)), "label": "l", "boxes": [[0, 0, 9, 1]]})
    assert found(path) == []
    assert "over the limit" in found(path, geometry=GEOMETRY)[0][3]


def test_traps_are_warnings(tmp_path):
    Image.fromarray(np.full((10, 20), 40_000, np.uint16)).save(tmp_path / "deep.png")
    row = {"image": "deep.png", "label": "dog", "mask": mask(tmp_path, "m.jpg")}
    problems = found(write(tmp_path, row))
    assert [(column, severity) for _, column, severity, _ in problems] == [("image", "warning"), ("mask", "warning")]
    assert "16 bits" in problems[0][3]
    assert "JPEG" in problems[1][3]


def test_labels_that_are_no_class(tmp_path, good):
    ((row, column, severity, message),) = found(write(tmp_path, *good), classes=["dog", "cow", "Cat"])
    assert (row, column, severity, message) == (
        2,
        "label",
        "error",
        "'cat' is none of the 3 classes (did you mean 'Cat'?)",
    )


def test_a_split_limits_the_files_but_not_the_rows(tmp_path, good):
    rows = [
        *good,
        {"image": "gone.png", "label": "x", "boxes": [], "split": "train"},
        {"image": "/x", "split": "train"},
    ]
    report = check_manifest(write(tmp_path, *rows), split="test", classes=["dog"])
    assert (report.rows, report.samples) == (4, 1)
    assert {problem.row for problem in report.problems} == {4}


def test_a_split_nobody_is_in(tmp_path, good):
    ((row, _, severity, message),) = found(write(tmp_path, *good), split="val")
    assert (row, severity) == (0, "error")
    assert "it has the splits test (1 rows), train (1 rows)" in message


def test_every_problem_of_the_manifest_uncapped_and_as_reading_names_it(tmp_path):
    path = write(tmp_path, *[{"image": f"../{i}", "label": 1} for i in range(50)])
    report = check_manifest(path)
    assert (report.errors, report.rows, report.samples) == (150, 50, 0)
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    assert "150 problems" in str(caught.value)
    for problem in report.problems[:20]:
        assert str(problem) in str(caught.value)


@pytest.mark.parametrize("name", ["none.csv", "m.txt", "m.csv"])
def test_a_file_that_is_no_manifest_is_one_problem(tmp_path, name):
    (tmp_path / "m.txt").write_text("")
    (tmp_path / "m.csv").write_text("image,label\n")
    report = check_manifest(tmp_path / name)
    assert [problem.row for problem in report.problems] == [0]
    assert (report.errors, report.rows) == (1, 0)


def test_threads_change_nothing(tmp_path, good):
    rows = [*good, *[{"image": f"{i}.png", "label": "dog", "boxes": [[0, 0, 99, 99]]} for i in range(300)]]
    path = write(tmp_path, *rows)
    assert check_manifest(path, threads=1) == check_manifest(path, threads=4)
    with pytest.raises(ConfigError, match="threads"):
        check_manifest(path, threads=0)


def test_json(tmp_path, good):
    report = check_manifest(write(tmp_path, *good, {"image": "x.png", "label": "dog", "boxes": []}))
    value = json.loads(written(report))
    assert (value["errors"], value["warnings"], value["rows"], value["samples"]) == (1, 0, 3, 3)
    assert value["problems"][0]["row"] == 3
    assert value["problems"][0]["id"] == "x.png"


def test_shards_are_checked_as_a_manifest_is(tmp_path):
    good = {"a.png": picture(0, (20, 10)), "a.mask.png": picture(9, (20, 10)), "a.cls": b"dog"}
    bad = {"b.png": b"no picture", "b.json": json.dumps({"label": "cat", "boxes": [], "split": "test"}).encode()}
    pattern = write_shards(tmp_path / "shards", good, {**bad, "c.png": b"x", "c.cls": b"7"})
    report = check_manifest(pattern)
    assert (report.path, report.rows, report.samples, report.splits) == (pattern, 3, 2, {"test": 1})
    assert [(problem.row, problem.severity) for problem in report.problems] == [
        (1, "warning"),
        (2, "error"),
        (3, "error"),
    ]
    assert [problem.row for problem in check_manifest(pattern, decode=False).problems] == [3]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"label": "dgo"}, "none of the 2 classes"),
        ({"id": "s1"}, "already the id of row 2"),
        ({"label": 7}, "must be the name of a class"),
        ({"boxes": []}, ""),
        ({"split": None}, ""),
        ({"cluster": "c"}, "makes"),
    ],
)
def test_what_is_said_of_rows_does_not_depend_on_their_images(tmp_path, changed, said):
    name = image(tmp_path, "a.png")
    rows = [{"id": f"s{k}", "image": name, "label": "dog", "boxes": [[0, 0, 9, 5]], "split": "test"} for k in range(20)]
    rows = [row | {"cluster": f"c{k % 4}"} for k, row in enumerate(rows)] if "cluster" in changed else rows
    rows[-1] |= changed
    path = write(tmp_path, *rows)
    reports = [
        check_manifest(path, classes=["dog", "cat"], split=split, decode=decode)
        for split in (None, "test", "train")
        for decode in (False, True)
    ]
    for rows_alone, with_images in zip(reports[::2], reports[1::2], strict=True):
        empty = "gives an empty region"
        told = [problem for problem in with_images.problems if empty not in problem.message]
        assert (rows_alone.rows, rows_alone.samples) == (with_images.rows, with_images.samples)
        assert (rows_alone.classes, rows_alone.splits) == (with_images.classes, with_images.splits)
        assert list(rows_alone.problems) == told
    assert said in "".join(problem.message for problem in reports[0].problems)
    assert "'train'" in "".join(problem.message for problem in reports[4].problems)
