"""COCO's JSON becomes a manifest whose regions are those that the COCO API draws, pixel rule aside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as api

from rate.data.images.drawn_masks import polygon_mask, rle_mask
from rate.data.images.prepare import load_mask
from rate.data.make.check import check_manifest
from rate.data.make.coco import index_coco
from rate.data.manifest import read_manifest
from rate.errors import ConfigError, DataError, UsageError

# ----------------------------------------------------------------------------------------------------- run lengths

masks = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda size: arrays(np.bool_, size))


@given(masks)
def test_compressed_run_lengths_are_those_of_the_coco_api(mask):
    counts = api.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    np.testing.assert_array_equal(rle_mask(counts, mask.shape[1], mask.shape[0]), mask)


def test_long_runs_of_a_large_image():
    mask = np.zeros((1500, 2000), np.bool_)
    mask[:, 700:1400] = mask[3, 5] = True
    counts = api.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    np.testing.assert_array_equal(rle_mask(counts, 2000, 1500), mask)


@given(masks)
def test_uncompressed_run_lengths(mask):
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    counts = [0, *runs] if flat[0] else runs
    np.testing.assert_array_equal(rle_mask(counts, mask.shape[1], mask.shape[0]), mask)


@given(st.text(st.characters(min_codepoint=30, max_codepoint=120), max_size=30))
def test_texts_that_are_no_run_lengths_are_refused(text):
    try:
        mask = rle_mask(text, 6, 5)
    except ValueError:
        return
    assert mask.shape == (5, 6)


@pytest.mark.parametrize("counts", [[], [29], [31], [-1, 31], [10**9, 1], [30, -30, 30], "", "o", "P" * 40])
def test_run_lengths_that_do_not_fill_the_image(counts):
    with pytest.raises(ValueError, match=r"do not fill|break off|not compressed|64 bits"):
        rle_mask(counts, 6, 5)


def test_polygons_differ_from_the_coco_api_by_the_rim_alone():
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = 30 + 8 * np.sin(5 * angles)
    corners = np.stack([50 + radius * np.cos(angles), 45 + radius * np.sin(angles)], axis=1)
    ours = polygon_mask(corners, (100, 90))
    theirs = rle_mask(api.frPyObjects([corners.ravel().tolist()], 90, 100)[0]["counts"].decode(), 100, 90)
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.96
    rim = np.zeros_like(ours)
    for axis in (0, 1):
        for step in (-1, 1):
            rim |= np.roll(ours, step, axis) != ours
    assert not ((ours != theirs) & ~rim).any()


# -------------------------------------------------------------------------------------------------------- the set

SQUARE = [2, 1, 6, 1, 6, 4, 2, 4]
CORNER = [0, 0, 1, 0, 1, 1, 0, 1]


def coco(root: Path, **changes: object) -> Path:
    """Two dogs, one of them in two parts, and a crowd of cats in a.png; one cat in sub/b.png; nothing in c.png."""
    (root / "images" / "sub").mkdir(parents=True, exist_ok=True)
    for name in ("a.png", "sub/b.png", "c.png"):
        Image.new("RGB", (12, 8)).save(root / "images" / name)
    crowd = {"size": [8, 12], "counts": [8 * 11, 8]}
    dog = {"image_id": 1, "category_id": 3, "iscrowd": 0}
    value = {
        "images": [
            {"id": number, "file_name": name, "width": 12, "height": 8}
            for number, name in ((1, "a.png"), (2, "sub/b.png"), (9, "c.png"))
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 5, "name": "cat"}],
        "annotations": [
            {"id": 1, **dog, "bbox": [2, 1, 4, 3], "segmentation": [SQUARE, CORNER]},
            {"id": 2, **dog, "bbox": [8.5, 0, 2, 2], "segmentation": [[8, 0, 10, 0, 10, 2, 8, 2]]},
            {"id": 3, "image_id": 1, "category_id": 5, "iscrowd": 1, "bbox": [11, 0, 1, 8], "segmentation": crowd},
            {
                "id": 4,
                "image_id": 2,
                "category_id": 5,
                "bbox": [0, 0, 3, 3],
                "segmentation": {**crowd, "counts": "P3`2"},
            },
        ],
    }
    path = root / "instances.json"
    path.write_text(json.dumps(value | changes))
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_boxes(tmp_path, suffix):
    out = tmp_path / f"m.{suffix}"
    report = index_coco(coco(tmp_path), tmp_path / "images", out)
    assert (report.rows, report.classes, report.unannotated, report.crowds) == (3, {"cat": 2, "dog": 1}, 1, 1)
    assert [(s.id, s.label, s.cluster, s.boxes) for s in read_manifest(out).samples] == [
        ("a.png:cat", "cat", "a.png", ((11.0, 0.0, 12.0, 8.0),)),
        ("a.png:dog", "dog", "a.png", ((2.0, 1.0, 6.0, 4.0), (8.5, 0.0, 10.5, 2.0))),
        ("sub/b.png:cat", "cat", "sub/b.png", ((0.0, 0.0, 3.0, 3.0),)),
    ]
    assert [problem.column for problem in check_manifest(out).problems] == ["cluster"], "two images are few"


def test_masks(tmp_path):
    counts = api.encode(np.asfortranarray(np.eye(8, 12, dtype=np.uint8)))["counts"].decode()
    path = coco(tmp_path)
    path.write_text(path.read_text().replace("P3`2", json.dumps(counts)[1:-1]))
    index_coco(path, tmp_path / "images", tmp_path / "m.csv", regions="masks")
    cats, dogs, cat = (load_mask(sample.mask).object for sample in read_manifest(tmp_path / "m.csv").samples)
    expected = np.zeros((8, 12), np.bool_)
    expected[1:4, 2:6] = expected[0, 0] = expected[0:2, 8:10] = True
    np.testing.assert_array_equal(dogs, expected)
    np.testing.assert_array_equal(cats, np.arange(12)[None, :].repeat(8, 0) == 11)
    np.testing.assert_array_equal(cat, np.eye(8, 12, dtype=bool))
    assert not check_manifest(tmp_path / "m.csv").errors
    assert sorted(path.name for path in (tmp_path / "m-masks").iterdir()) == ["1-3.png", "1-5.png", "2-5.png"]


def test_what_is_left_out_is_said(tmp_path):
    path = coco(tmp_path)
    (tmp_path / "images" / "sub" / "b.png").unlink()
    report = index_coco(path, tmp_path / "images", tmp_path / "m.csv")
    assert report.rows == 2
    assert report.notices() == (
        "1 annotated images are not there and were left out: sub/b.png",
        "1 images have no annotation and were left out",
        "1 annotations are crowds; they are part of their class's region",
    )


# --------------------------------------------------------------------------------------------------------- refused


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        index_coco(path, path.parent / "images", path.parent / "m.csv", **options)
    assert not (path.parent / "m.csv").exists()
    assert not (path.parent / "m-masks").exists()
    return str(caught.value)


IMAGE = {"id": 1, "file_name": "a.png", "width": 12, "height": 8}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"images": 3}, "needs the lists images, categories, annotations"),
        ({"images": [IMAGE, IMAGE]}, "image 1: needs an id of its own"),
        ({"images": [IMAGE, {**IMAGE, "id": 2}]}, "two images have the same file_name"),
        ({"images": [{**IMAGE, "id": "1"}]}, "image '1': needs an id of its own, a whole number"),
        ({"images": ["a.png"]}, "image None: needs an id"),
        ({"images": [{**IMAGE, "file_name": "\ud800.png"}]}, "image 1: needs a file_name"),
        ({"categories": [{"id": 3, "name": " "}]}, "category 3: needs a name of its own"),
        ({"images": [{**IMAGE, "width": 0}]}, "needs width and height in pixels, got (0, 8)"),
        ({"images": [{**IMAGE, "width": 10**6, "height": 10**6}]}, "the limit is 178,956,970"),
        ({"categories": [{"id": 3, "name": "dog"}, {"id": 5, "name": "dog"}]}, "category 5: needs a name of its own"),
        ({"categories": []}, "annotation 1: image_id and category_id must be listed ids, got 1, 3"),
        ({"annotations": [{"id": 1, "image_id": [1], "category_id": 3}]}, "must be listed ids, got [1], 3"),
        ({"annotations": [7]}, "must be listed ids"),
        ({"annotations": []}, "no annotated image"),
    ],
)
def test_malformed_sets(tmp_path, change, what):
    assert what in refusal(coco(tmp_path, **change))


@pytest.mark.parametrize("box", [None, [0, 0, 1], [0, 0, -1, 1], ["0", 0, 1, 1], [0, 0, 10**400, 1], {"x": 1}])
def test_malformed_boxes(tmp_path, box):
    assert "bbox must be [x, y, width, height]" in refusal(
        coco(tmp_path, annotations=[{"id": 1, "image_id": 1, "category_id": 3, "bbox": box}])
    )


@pytest.mark.parametrize(
    ("outline", "what"),
    [
        (None, "--regions boxes takes its bbox"),
        ([], "--regions boxes takes its bbox"),
        ([[0, 0, 1, 1]], "neither polygons"),
        ([[0, 0, 1, 1, 2, 2, 3]], "neither polygons"),
        ({"size": [12, 8], "counts": [96]}, "are of size [12, 8], the image is [8, 12]"),
        ({"size": [8, 12], "counts": [95]}, "annotation 1: its run lengths do not fill an image of 12 x 8 pixels"),
        ({"size": [8, 12], "counts": [10**400]}, "counts must be"),
        ({"size": [8, 12], "counts": "\x01"}, "are not compressed counts"),
        ({"size": [8, 12], "counts": None}, "counts must be"),
    ],
)
def test_malformed_outlines(tmp_path, outline, what):
    one = {"id": 1, "image_id": 1, "category_id": 3, "segmentation": outline}
    assert what in refusal(coco(tmp_path, annotations=[one]), regions="masks")


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"images": [NaN], "categories": [], "annotations": []}'])
def test_what_is_no_json_of_coco(tmp_path, content):
    path = coco(tmp_path)
    path.write_text(content)
    assert str(path) in refusal(path)


def test_too_large_a_file(tmp_path):
    path = coco(tmp_path)
    assert f"--max-json-bytes {path.stat().st_size} allows it" in refusal(path, max_bytes=100)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname"])
def test_images_outside_the_folder_of_the_manifest(tmp_path, name):
    root = tmp_path / "set"
    path = coco(root)
    Image.new("RGB", (12, 8)).save(tmp_path / "secret.png")
    path.write_text(path.read_text().replace('"a.png"', json.dumps(f"../{name}" if name.startswith(".") else name)))
    assert "leaves the manifest's folder" in refusal(path)


def test_masks_are_never_overwritten(tmp_path):
    path = coco(tmp_path, annotations=[{"id": 1, "image_id": 1, "category_id": 3, "segmentation": [SQUARE]}])
    (tmp_path / "m-masks").mkdir()
    (tmp_path / "m-masks" / "1-3.png").touch()
    with pytest.raises(UsageError, match="m-masks"):
        index_coco(path, tmp_path / "images", tmp_path / "m.csv", regions="masks")
    with pytest.raises(ConfigError, match="boxes, masks; got 'polygons'"):
        index_coco(path, tmp_path / "images", tmp_path / "m.csv", regions="polygons")
