"""Boxes in a table: columns by alias and by word, separators, shares, and Open Images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import picture

from rate.data.make.layouts.box_tables import read_open_images, read_table
from rate.data.make.layouts.write import LayoutReport, write_layout
from rate.data.manifest import read_manifest
from rate.errors import ConfigError, DataError

BOXES = [(1.0, 2.0, 9.0, 12.0), (20.0, 3.0, 30.0, 9.0)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("cat/a.jpg", "cat/b.jpg", "dog/c.jpg"):
        picture(tmp_path / "images" / name)
    return tmp_path


def index(root: Path, text: str, **options: object) -> LayoutReport:
    (root / "t.csv").write_text(text)
    return write_layout(read_table(root / "t.csv", root / "images", **options), root, root / "m.csv")


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("filename,width,height,class,xmin,ymin,xmax,ymax\n{a},40,30,cat,1,2,9,12\n{a},40,30,cat,20,3,30,9\n", None),
        ("image;label;x0;y0;x1;y1\n{a};cat;1;2;9;12\n{a};cat;20;3;30;9\n", None),
        ("\ufefffile_name\tcategory\tx1\ty1\tx2\ty2\n{a}\tcat\t1\t2\t9\t12\n{a}\tcat\t20\t3\t30\t9\n", None),
        ("Path|Label|x|y|w|h\n{a}|cat|1|2|8|10\n{a}|cat|20|3|10|6\n", "x0=x,y0=y"),
        ("pic,kind,l,t,r,b\n{a},cat,1,2,9,12\n{a},cat,20,3,30,9\n", "image=pic,label=kind,x0=l,y0=t,x1=r,y1=b"),
    ],
    ids=["voc", "semicolons", "tabs", "bars", "words"],
)
@pytest.mark.parametrize("name", ["cat/a.jpg", "a.jpg", "a", "./cat/a.jpg"])
def test_columns_and_separators_are_known_by_their_usual_names(
    root: Path, text: str, columns: str | None, name
) -> None:
    assert index(root, text.format(a=name), columns=columns).rows == 1
    [sample] = read_manifest(root / "m.csv").samples
    assert (sample.id, sample.label, list(sample.boxes or ())) == ("images/cat/a.jpg", "cat", BOXES)


def test_an_image_of_several_classes_has_a_row_for_each(root: Path) -> None:
    text = "filename,class,xmin,ymin,xmax,ymax,split\na.jpg,cat,1,2,9,12,val\na.jpg,dog,20,3,30,9,val\n"
    assert index(root, text).splits == {"val": 2}
    first, second = read_manifest(root / "m.csv").samples
    assert (first.id, second.id) == ("images/cat/a.jpg:cat", "images/cat/a.jpg:dog")
    assert first.cluster == second.cluster == "images/cat/a.jpg"


def test_folders_name_the_classes_of_a_table_without_them(root: Path) -> None:
    report = index(root, "filename,xmin,ymin,xmax,ymax\na.jpg,1,2,9,12\nc.jpg,1,2,9,12\n", labelled=False)
    assert report.classes == {"cat": 1, "dog": 1}
    assert report.left_out == {"have no box in the table": (1, ("images/cat/b.jpg",))}


def test_shares_are_refused_with_the_word_for_them_and_taken_with_it(root: Path) -> None:
    text = "filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,0.1,0.2,0.5,1\n"
    with pytest.raises(DataError, match=r"all 1 boxes lie between 0 and 1, such as \[0\.1, .*say so with --shares"):
        index(root, text)
    index(root, text, shares=True)
    np.testing.assert_allclose(read_manifest(root / "m.csv").samples[0].boxes, [(4, 6, 20, 30)])


@pytest.mark.parametrize(
    ("text", "columns", "error", "said"),
    [
        ("a,b\n1,2\n", None, DataError, r"no column gives image, x0, y0, label, x1, y1; it has a, b; name them with"),
        ("filename,class,xmin,ymin,xmax,ymax\n", None, DataError, "has no rows"),
        ("filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,1,2,x,4\n", None, DataError, "row 1 is not as the header"),
        ("filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,1\n", None, DataError, "row 1 is not as the header"),
        ("filename,class,xmin,ymin,xmax,ymax\n../a.jpg,cat,1,2,30,4\n", None, DataError, "expected a path below"),
        ("filename,class,xmin,ymin,xmax,ymax\n", "image=x", DataError, "has no column 'x'"),
        ("filename,class,xmin,ymin,xmax,ymax\n", "picture=x", ConfigError, "expected such as image=picture"),
        ("filename,class,xmin,ymin,xmax,ymax\n", "image", ConfigError, "expected such as image=picture"),
        ("filename,class,xmin,ymin,xmax,ymax\nz.jpg,cat,1,2,30,4\n", None, DataError, "gives no row"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_cure(root: Path, text: str, columns, error, said: str) -> None:
    with pytest.raises(error, match=said):
        index(root, text, columns=columns)


def test_open_images(root: Path) -> None:
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf"
    rows = ["a,xclick,/m/01,1,0.1,0.5,0.2,1,0,0,0", "a,xclick,/m/02,1,0,1,0,1,0,0,0", "b,xclick,/m/99,1,0,1,0,1,0,0,0"]
    (root / "validation-annotations-bbox.csv").write_text("\n".join([header, *rows]))
    (root / "class-descriptions-boxable.csv").write_text('/m/01,Tortoise\n/m/02,"Cat, wild"\n')
    report = write_layout(read_open_images(root, root / "images"), root, root / "m.csv")
    assert (report.classes, report.splits) == ({"Cat, wild": 1, "Tortoise": 1}, {"validation": 2})
    assert list(report.left_out) == ["have an annotation that cannot be used"]
    boxes = {sample.label: sample.boxes for sample in read_manifest(root / "m.csv").samples}
    np.testing.assert_allclose(boxes["Tortoise"], [(4, 6, 20, 30)])
