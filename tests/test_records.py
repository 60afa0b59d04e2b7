"""Records beside the JSON Schemas that are published of them, on documents that were changed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import msgspec
import pytest
from run_rows import run_json

from rate.artifacts.records import ArtifactDocument, CheckpointDocument
from rate.errors import ArtifactError, RateError
from rate.records import Document, Record, plain, read, read_json, record, schema_of, write, written
from rate.runs.part_list import ListedPart
from rate.runs.run_document import RunDocument
from rate.types import Json

VALUES: tuple[Any, ...] = (None, True, "", "x", -1, 0, 2**70, 0.5, -0.5, [], {}, [1], {"x": 1}, "running", "../x")


class Part(Record, frozen=True):
    """A part."""

    names: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...]
    share: float | None = None


class Whole(Document, frozen=True, tag="rate.whole/3"):
    """A whole."""

    count: Annotated[int, msgspec.Meta(ge=0)]
    parts: dict[str, Part]
    last: Part = msgspec.field(name="end")


WHOLE = Whole(2, {"a": Part(("x", "y"))}, Part((), 0.5))


def places(value: object, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something can be changed."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*at, key)
        yield from places(part, (*at, key))


def changed(document: Json, rng: random.Random) -> Json:
    """One value replaced, removed, or a key added."""
    document = copy.deepcopy(document)
    *path, last = rng.choice(list(places(document)))
    owner: Any = document
    for key in path:
        owner = owner[key]
    if rng.random() < 0.2:
        del owner[last]
    else:
        owner[last] = copy.deepcopy(rng.choice(VALUES))
    return document


def check_agreement(kind: type[Document], document: Json, path: Path) -> None:
    """Whether a reader accepts a document is what the published schema says of it."""
    schema = schema_of(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(document)
    verdicts = set()
    for seed in range(400):
        other = changed(document, random.Random(seed))
        path.write_text(json.dumps(other))
        accepted, why = True, ""
        try:
            read(path, kind, ArtifactError, "make it again")
        except ArtifactError as error:
            accepted, why = False, str(error)
        beyond = any(text in why for text in ("size must", "resize must", "a squashed", "std must", "64 bits"))
        assert accepted == validator.is_valid(other) or beyond, (seed, why, list(validator.iter_errors(other)))
        verdicts.add(accepted)
    assert verdicts == {True, False}


@pytest.mark.parametrize("kind", [ArtifactDocument, CheckpointDocument])
def test_a_reader_of_models_accepts_what_the_schema_accepts(kind: type[Document], trained: Any, tmp_path: Path) -> None:
    name = "artifact" if kind is ArtifactDocument else "checkpoint"
    check_agreement(kind, json.loads((getattr(trained, name) / f"{name}.json").read_text()), tmp_path / "x.json")


def test_a_reader_of_runs_accepts_what_the_schema_accepts(tmp_path: Path) -> None:
    check_agreement(RunDocument, run_json(["zs", "lp"], 3), tmp_path / "x.json")
    failure = {"reason": "broken", "count": 1, "example": "s1", "message": "s1: broken"}
    part = {"name": "part-0a.parquet", "rows": 6, "errors": 2, "settled": {"fixed": 4}, "failures": [failure]}
    stats = dict.fromkeys(("forwards", "used", "rows", "samples"), 3) | dict.fromkeys(("seconds", "idle_s"), 2.0)
    check_agreement(
        ListedPart,
        {"schema": "rate.part/2", **part, "first": "0" * 16, "last": "f" * 16, "session": 1, "stats": stats},
        tmp_path / "x.json",
    )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write(tmp_path / "x.json", WHOLE)
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "schema": "rate.whole/3",
        "count": 2,
        "parts": {"a": {"names": ["x", "y"], "share": None}},
        "end": {"names": [], "share": 0.5},
    }
    assert read(tmp_path / "x.json", Whole, RateError, "write it again") == WHOLE
    assert schema_of(Whole)["$id"] == "rate.whole/3"


def test_a_record_is_made_of_attributes_and_of_properties() -> None:
    class Source:
        names = ("x",)

        @property
        def share(self) -> float:
            return 0.25

    assert record(Part, Source()) == Part(("x",), 0.25)
    assert record(Part, {"names": ["x"]}) == Part(("x",))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "rate.whole/2"}, ("rate.whole/2", "rate.whole/3", "another version")),
        ({"count": -1}, ("$.count", ">= 0", "got -1")),
        ({"count": True}, ("$.count", "`int`", "got True")),
        ({"parts": {"a": {"names": ["x", ""]}}}, ("$.parts[...].names[1]", ">= 1")),
        ({"end": {"names": ["x", ""]}}, ("$.end.names[1]", ">= 1", "got ''")),
        ({"end": {}}, ("`names`", "$.end")),
        ({"more": 1}, ("`more`",)),
        ({"end": "x" * 1000}, ("$.end", "`object`", "xxx...")),
    ],
)
def test_what_is_wrong_is_said_with_file_place_and_cure(change: Json, said: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(plain(WHOLE) | change))
    with pytest.raises(RateError) as caught:
        read(path, Whole, RateError, "write it again")
    for fact in (str(path), *said, "write it again"):
        assert fact in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "[" * 100_000, "9" * 5000, "", "1e999", '"\\ud800"', '"\\udc00 x"', "[1,]", "\ufeff1"]
)
def test_what_is_no_json_is_a_value_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError):
        read_json(tmp_path / "x.json")


def test_what_is_not_finite_is_never_written() -> None:
    with pytest.raises(ValueError):
        written(Part((), float("nan")))


def test_credentials_are_not_written() -> None:
    assert "secret" not in written({"a": ["https://user:secret@host/x"]})
