"""From entries to a manifest: what does not become a row is counted with its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import picture
from PIL import Image

from rate.data.images.masks import Mask
from rate.data.images.prepare import load_mask
from rate.data.make.layouts.base import Entry, LeftOut, below
from rate.data.make.layouts.write import write_layout
from rate.data.manifest import read_manifest
from rate.errors import DataError, SampleError

BOX = ((1.0, 2.0, 30.0, 20.0),)


def half(size: tuple[int, int]) -> Mask:
    mask = np.zeros(size[::-1], bool)
    mask[:, : size[0] // 2] = True
    return Mask(mask)


def refuse(size: tuple[int, int]) -> Mask:
    raise SampleError("torn")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_boxes_and_masks_read_back(tmp_path, suffix):
    root = tmp_path / "set"
    entries = [
        Entry(picture(root / "a.jpg"), "cat", BOX, "test", cluster="c"),
        Entry(picture(root / "b/c.png"), "dog", half, "train"),
    ]
    report = write_layout(entries, root, tmp_path / f"m.{suffix}")
    assert (report.rows, report.splits, report.notices()) == (2, {"test": 1, "train": 1}, ())
    first, second = read_manifest(tmp_path / f"m.{suffix}").samples
    assert (first.label, first.boxes, first.cluster) == ("cat", BOX, "c")
    assert second.mask == str(tmp_path / "m-masks/b/c.png.png")
    np.testing.assert_array_equal(load_mask(second.mask).object, half((40, 30)).object)
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_is_left_out_is_counted_by_reason(tmp_path):
    good = Entry(picture(tmp_path / "good.jpg"), "cat", BOX, annotated=(40, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "text.jpg").write_text("no image")
    entries = [
        good,
        *[LeftOut(tmp_path / f"{i:02d}.jpg", "have no annotation") for i in range(12)],
        Entry(tmp_path / "text.jpg", "cat", BOX),
        Entry(tmp_path / "gone.jpg", "cat", BOX),
        Entry(picture(tmp_path / "turned.jpg", exif=exif.tobytes()), "cat", BOX),
        Entry(picture(tmp_path / "other.jpg"), "cat", BOX, annotated=(30, 40)),
        Entry(picture(tmp_path / "torn.jpg"), "cat", refuse),
        Entry(picture(tmp_path / "inside-out.jpg"), "cat", ((9.0, 0.0, 1.0, 1.0),)),
        Entry(picture(tmp_path / "nan.jpg"), "cat", ((0.0, 0.0, float("nan"), 1.0),)),
    ]
    report = write_layout(entries, tmp_path, tmp_path / "m.csv")
    assert report.rows == 1
    assert {why: count for why, (count, _) in report.left_out.items()} == {
        "have no annotation": 12,
        "cannot be opened": 2,
        "are turned by EXIF, which their annotation does not state,": 1,
        "are not of the size that their annotation was drawn over": 1,
        "have an annotation that cannot be used": 3,
    }
    assert report.notices()[0] == (
        "12 images have no annotation and were left out: 00.jpg, 01.jpg, 02.jpg, 03.jpg, 04.jpg, 05.jpg, 06.jpg, "
        "07.jpg, 08.jpg, 09.jpg and 2 more"
    )
    assert "torn.jpg (torn)" in report.notices()[-1]
    assert len(read_manifest(tmp_path / "m.csv").samples) == 1


def test_a_shared_mask_is_written_once(tmp_path):
    calls = []

    def mask(size: tuple[int, int]) -> Mask:
        calls.append(size)
        return half(size)

    entries = [Entry(picture(tmp_path / f"{i}.jpg"), "cat", mask, mask_name="one.png") for i in range(3)]
    write_layout(entries, tmp_path, tmp_path / "m.csv")
    assert {sample.mask for sample in read_manifest(tmp_path / "m.csv").samples} == {str(tmp_path / "m-masks/one.png")}
    assert len(calls) == 1


def test_no_row_is_no_manifest(tmp_path):
    with pytest.raises(DataError, match="gives no row of a manifest: 1 have no annotation"):
        write_layout([LeftOut(tmp_path / "a.jpg", "have no annotation")], tmp_path, tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


def test_a_manifest_elsewhere_is_refused(tmp_path):
    entry = Entry(picture(tmp_path / "set/a.jpg"), "cat", BOX)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DataError, match="does not lie below"):
        write_layout([entry], tmp_path / "set", tmp_path / "elsewhere/m.csv")


@pytest.mark.parametrize(
    "written", ["/etc/passwd", "../x.jpg", "a/../../x.jpg", "C:\\x.jpg", "s3://b/x.jpg", "a\0b", ""]
)
def test_names_that_leave_the_folder_are_refused(written):
    with pytest.raises(DataError, match="expected a path below set"):
        below(Path("set"), written, Path("list.txt"))


def test_names_below_the_folder():
    assert below(Path("set"), "a/b c.jpg", Path("list.txt")) == Path("set/a/b c.jpg")
