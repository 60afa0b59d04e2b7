"""COCO panoptic: segments of a class together, unlabelled pixels ignored, stuff on request."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from layout_files import picture
from PIL import Image

from rate.data.images.prepare import load_mask
from rate.data.make.layouts.panoptic import read_panoptic
from rate.data.make.layouts.write import write_layout
from rate.data.manifest import read_manifest
from rate.errors import DataError

IDS = np.zeros((30, 40), np.int64)
IDS[:10, :10], IDS[:10, 20:30], IDS[20:] = 70_001, 300, 5


def form(**changes: object) -> dict[str, object]:
    segments = [{"id": 70_001, "category_id": 1}, {"id": 300, "category_id": 1}, {"id": 5, "category_id": 9}]
    return {
        "images": [{"id": 4, "file_name": "a.jpg", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "cat", "isthing": 1}, {"id": 9, "name": "sky", "isthing": 0}],
        "annotations": [{"image_id": 4, "file_name": "a.png", "segments_info": segments}],
    } | changes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    picture(tmp_path / "images" / "a.jpg")
    (tmp_path / "masks").mkdir()
    colours = np.stack([IDS % 256, IDS // 256 % 256, IDS // 65536], axis=2).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "masks" / "a.png")
    (tmp_path / "p.json").write_text(json.dumps(form()))
    return tmp_path


@pytest.mark.parametrize("stuff", [False, True])
def test_the_segments_of_a_class_are_its_region(root: Path, stuff: bool) -> None:
    entries = read_panoptic(root / "p.json", root / "masks", root / "images", stuff=stuff)
    report = write_layout(entries, root, root / "m.csv")
    assert report.classes == ({"cat": 1, "sky": 1} if stuff else {"cat": 1})
    cat = read_manifest(root / "m.csv").samples[0]
    found = load_mask(cat.mask or "", values=cat.values)
    np.testing.assert_array_equal(found.object, np.isin(IDS, (70_001, 300)))
    np.testing.assert_array_equal(found.ignored, IDS == 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": 3},
        {"categories": [{"id": 1}]},
        {"annotations": [{"image_id": 5, "file_name": "a.png", "segments_info": []}]},
        {"annotations": [{"image_id": 4, "file_name": "a.png", "segments_info": [{"id": "x", "category_id": 1}]}]},
        {"annotations": [{"image_id": 4, "file_name": "../../a.png", "segments_info": []}]},
    ],
)
def test_a_json_of_another_form_is_refused(root: Path, changes: dict[str, object]) -> None:
    (root / "p.json").write_text(json.dumps(form(**changes)))
    with pytest.raises(DataError, match=r"is not COCO's panoptic JSON|expected a path below"):
        list(read_panoptic(root / "p.json", root / "masks", root / "images"))
