"""Caltech-101 as its archives unpack, in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from layout_files import mat, picture

from rate.data.images.prepare import load_mask
from rate.data.make.layouts.base import BROKEN, MISSING, Entry, LeftOut
from rate.data.make.layouts.caltech101 import read_caltech101
from rate.data.make.layouts.mat import MAX_BYTES
from rate.data.make.layouts.write import write_layout
from rate.data.manifest import read_manifest
from rate.errors import DataError

SQUARE = np.array([[-0.5, 9.5, 9.5, -0.5], [-0.5, -0.5, 5.5, 5.5]])
"""The outline of 10 x 6 pixels, relative to the centre of the first."""


def annotate(root: Path, folder: str, number: int, contour: np.ndarray = SQUARE, box: object = None) -> Path:
    path = root / "Annotations" / folder / f"annotation_{number:04d}.mat"
    where = np.array([[4, 9, 6, 15]], np.uint16) if box is None else box  # top, bottom, left, right, from 1
    return mat(path, box_coord=where, obj_contour=contour)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    images = tmp_path / "101_ObjectCategories"
    for folder, annotated in (("Faces", "Faces_2"), ("airplanes", "Airplanes_Side_2"), ("gerenuk", "gerenuk")):
        picture(images / folder / "image_0001.jpg", mode="L" if folder == "gerenuk" else "RGB")
        annotate(tmp_path, annotated, 1)
    picture(images / "BACKGROUND_Google" / "image_0001.jpg")
    return tmp_path


def test_contours_become_masks(root):
    report = write_layout(read_caltech101(root), root, root / "m.csv")
    assert report.classes == {"Faces": 1, "airplanes": 1, "gerenuk": 1}
    assert report.left_out == {MISSING: (1, ("101_ObjectCategories/BACKGROUND_Google/image_0001.jpg",))}
    for sample in read_manifest(root / "m.csv").samples:
        expected = np.zeros((30, 40), bool)
        expected[3:9, 5:15] = True  # rows 4 to 9 and columns 6 to 15, counted from 1
        np.testing.assert_array_equal(load_mask(sample.mask or "").object, expected)


def test_the_box_is_the_contours_frame(root):
    entries = [entry for entry in read_caltech101(root, boxes=True) if isinstance(entry, Entry)]
    assert {entry.region for entry in entries} == {((5.0, 3.0, 15.0, 9.0),)}


@pytest.mark.parametrize(
    ("folder", "annotated"), [("Faces_easy", "Faces_3"), ("Motorbikes", "Motorbikes_16"), ("wild_cat", "wild_cat")]
)
def test_folders_of_annotations_with_other_names(tmp_path, folder, annotated):
    picture(tmp_path / "101_ObjectCategories" / folder / "image_0007.jpg")
    annotate(tmp_path, annotated, 7)
    (entry,) = read_caltech101(tmp_path)
    assert isinstance(entry, Entry)
    assert entry.label == folder.replace("_", " ")


def test_names_of_the_user(root):
    names = {"Faces": "face", "airplanes": "airplane", "gerenuk": "gerenuk"}
    labels = {entry.label for entry in read_caltech101(root, names=names) if isinstance(entry, Entry)}
    assert labels == set(names.values())
    with pytest.raises(DataError, match="no line for airplanes"):
        list(read_caltech101(root, names={"Faces": "face", "gerenuk": "gerenuk"}))


@pytest.mark.parametrize(
    "change",
    [
        {"contour": np.zeros((3, 9))},
        {"contour": np.zeros((2, 2))},
        {"contour": np.full((2, 9), np.nan)},
        {"contour": np.full((2, 9), 1e300)},
        {"box": np.array([["a", "b"]], object)},
        {"box": np.array([1, 2, 3])},
    ],
)
def test_an_annotation_that_is_none(root, change):
    annotate(root, "Faces_2", 1, **change)
    (left,) = [item for item in read_caltech101(root) if isinstance(item, LeftOut) and item.why == BROKEN]
    assert "annotation_0001.mat" in left.detail


HDF5 = b"MATLAB 7.3 MAT-file, Platform: x".ljust(128) + b"\x89HDF\r\n"


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file", HDF5, b"\0" * (MAX_BYTES + 1)])
def test_files_that_are_not_matlab_5(root, content):
    (root / "Annotations/Faces_2/annotation_0001.mat").write_bytes(content)
    (left,) = [item for item in read_caltech101(root) if isinstance(item, LeftOut) and item.why == BROKEN]
    assert "annotation_0001.mat" in left.detail


def test_a_file_that_inflates_without_end(root):
    path = root / "Annotations/Faces_2/annotation_0001.mat"
    scipy.io.savemat(path, {"box_coord": np.zeros((1, 9_000_000))}, do_compression=True)
    assert path.stat().st_size < MAX_BYTES
    (left,) = [item for item in read_caltech101(root) if isinstance(item, LeftOut) and item.why == BROKEN]
    assert "once it is inflated" in left.detail


def test_compressed_files_are_read(root):
    found = {"box_coord": [[4, 9, 6, 15]], "obj_contour": SQUARE}
    scipy.io.savemat(root / "Annotations/Faces_2/annotation_0001.mat", found, do_compression=True)
    assert sum(isinstance(item, Entry) for item in read_caltech101(root)) == 3


def test_a_file_without_its_variables(root):
    mat(root / "Annotations/Faces_2/annotation_0001.mat", box_coord=np.ones((1, 4)))
    (left,) = [item for item in read_caltech101(root) if isinstance(item, LeftOut) and item.why == BROKEN]
    assert left.detail.endswith("lacks obj_contour")


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*101_ObjectCategories"):
        list(read_caltech101(tmp_path))
