"""JSON of strangers in manifests, archives and annotations: one clear, short message, whatever it holds."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from shard_files import archive, picture

from rate.data.evaluation_set import read_evaluation_set
from rate.data.formats.manifest_files import parse_json, short
from rate.data.make.check import check_manifest
from rate.data.make.coco import index_coco
from rate.errors import DataError

HOSTILE = {
    "surrogate": r'"\ud800"',
    "infinity": "1e999",
    "minus infinity": "-1e999",
    "NaN": "NaN",
    "nested 500": "[" * 500 + "]" * 500,
    "nested 100,000": "[" * 100_000 + "]" * 100_000,
    "5,000 digits": "9" * 5000,
    "4,000 digits": "9" * 4000,
    "null": "null",
    "object": "{}",
}
LONGEST = 700
"""Characters of a message about one value."""


@pytest.mark.parametrize(("kind", "said"), [("5,000 digits", "4,300 digits"), ("nested 100,000", "nested too deeply")])
def test_what_the_parser_of_python_gives_up_on_has_a_reason(kind: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as found:
        parse_json(HOSTILE[kind])
    assert "sys." not in str(found.value)


def test_what_is_shown_of_a_value_is_short_and_can_be_printed() -> None:
    assert short("\ud800") == r"'\ud800'"
    assert len(short("x" * 10_000)) == 80


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("column", ["image", "label", "boxes", "id", "split", "group", "cluster"])
@pytest.mark.parametrize("form", ["jsonl", "tar"])
def test_a_sample_with_it_is_refused_or_right(tmp_path: Path, form: str, column: str, kind: str) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    row = {"image": '"a.png"', "label": '"x"', "boxes": "[[0,0,3,3]]", column: HOSTILE[kind]}
    text = "{" + ",".join(f'"{name}":{value}' for name, value in row.items()) + "}\n"
    path = tmp_path / f"set.{form}"
    path.write_bytes(text.encode() if form == "jsonl" else archive({"a.png": picture(), "a.json": text.encode()}))
    problems = check_manifest(path).problems
    assert all(len(str(one).encode("utf-8")) < LONGEST + len(str(path)) for one in problems)
    if any(one.severity == "error" for one in problems):
        with pytest.raises(DataError):
            read_evaluation_set(str(path))
    else:
        assert len(read_evaluation_set(str(path))) == 1


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 6, "height": 4}],
    "categories": [{"id": 1, "name": "x"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 3], "segmentation": [[0, 0, 5, 0, 5, 4]]}
    ],
}


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from places(one, (*path, key))


def refusal_of(annotations: Path, out: Path, regions: str) -> str:
    try:
        index_coco(annotations, annotations.parent, out, regions=regions)
    except DataError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("regions", ["boxes", "masks"])
def test_annotations_with_it_are_refused_or_right(tmp_path: Path, kind: str, regions: str) -> None:
    Image.new("L", (6, 4)).save(tmp_path / "a.png")
    for number, path in enumerate(places(COCO)):
        document = copy.deepcopy(COCO)
        inner = document
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = "@"
        (tmp_path / "coco.json").write_text(json.dumps(document).replace('"@"', HOSTILE[kind]))
        out = tmp_path / f"{number}.csv"
        said = refusal_of(tmp_path / "coco.json", out, regions)
        assert len(said.encode("utf-8")) < LONGEST + len(str(tmp_path)), path
        assert said or len(read_evaluation_set(str(out))) == 1, path
