"""Boxes as shares of the image are refused with the cure; labels that no class has are named with what was meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rate.data.evaluation_set import read_evaluation_set
from rate.data.make.check import check_manifest
from rate.data.set_faults import BoxUnits, suggestion, unknown_labels, with_suggestions
from rate.errors import DataError
from rate.types import Box, Sample


def write(folder: Path, boxes: list[Box]) -> Path:
    lines = []
    for k, box in enumerate(boxes):
        Image.new("RGB", (20, 10), (k, 0, 0)).save(folder / f"{k}.png")
        lines.append(json.dumps({"image": f"{k}.png", "label": "dog", "boxes": [box]}))
    (folder / "m.jsonl").write_text("\n".join(lines))
    return folder / "m.jsonl"


def test_a_set_of_shares_is_refused_and_named_by_the_check(tmp_path: Path) -> None:
    manifest = write(tmp_path, [(0.0, 0.0, 1.0, 1.0), (0.25, 0.1, 0.5, 1.0)])
    with pytest.raises(DataError, match=r"all 2 boxes.*0\.25.*row 2.*multiply.*width.*height"):
        read_evaluation_set(str(manifest))
    [problem] = [one for one in check_manifest(manifest).problems if one.severity == "error"]
    assert "all 2 boxes" in problem.message


def test_one_box_in_pixels_makes_it_a_set_in_pixels(tmp_path: Path) -> None:
    manifest = write(tmp_path, [(0.5, 0.0, 1.0, 1.0), (3.0, 1.0, 9.0, 8.0)])
    assert len(read_evaluation_set(str(manifest))) == 2
    assert not any("shares" in one.message for one in check_manifest(manifest).problems)


shares = st.tuples(*[st.floats(0, 0.5)] * 2, *[st.floats(0.5, 1)] * 2)


@given(boxes=st.lists(shares, min_size=1, max_size=5), sides=st.tuples(st.integers(3, 999), st.integers(3, 999)))
def test_only_shares_are_taken_for_shares(boxes: list[Box], sides: tuple[int, int]) -> None:
    width, height = sides
    as_shares, as_pixels = BoxUnits(), BoxUnits()
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        as_shares.add(Sample(str(k), "x", "/x", boxes=((x0, y0, x1, y1),)))
        as_pixels.add(Sample(str(k), "x", "/x", boxes=((x0 * width, y0 * height, x1 * width, y1 * height),)))
    fractional = any(0 < number < 1 for box in boxes for number in box)
    assert (as_shares.problem() is not None) == fractional
    assert as_pixels.problem() is None, "half of an image of 3 pixels or more lies beyond the first pixel"


CLASSES = ("Faces", "great white shark", "tench", "Tench")


@pytest.mark.parametrize(
    ("label", "meant"),
    [("faces", "Faces"), ("Great_White-shark", "great white shark"), ("tenhc", "tench"), ("FACE", "Faces")],
)
def test_another_case_other_separators_and_slips_are_recognised(label: str, meant: str) -> None:
    assert f"{meant!r}" in suggestion(label, CLASSES)


def test_nothing_is_suggested_where_nothing_is_alike() -> None:
    assert suggestion("n01440764", CLASSES) == ""


def test_all_unknown_labels_are_counted_and_the_first_are_named() -> None:
    labels = {f"unlike {k}" for k in range(9)} | {"tench"}
    unknown = unknown_labels(labels, CLASSES)
    assert len(unknown) == 9
    text = with_suggestions(unknown, CLASSES)
    assert "'unlike 0'" in text
    assert "4 more" in text
