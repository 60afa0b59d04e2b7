"""Our reading of JSON Schema beside that of a library, on documents of ours that were changed."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from run_rows import run_json

from rate.artifacts.documents import disagreement
from rate.runs.run_schema import NEEDED
from rate.types import Json

VALUES: tuple[Any, ...] = (None, True, "", "x", -1, 0, 2**70, 0.5, -0.5, [], {}, [1], {"x": 1}, "running", "../x")


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


def check_agreement(document: Json, schema: Json) -> None:
    library = jsonschema.Draft202012Validator(schema)
    assert disagreement(document, schema) is None
    assert library.is_valid(document)
    verdicts = set()
    for seed in range(400):
        other = changed(document, random.Random(seed))
        ours = disagreement(other, schema)
        assert (ours is None) == library.is_valid(other), (seed, ours, list(library.iter_errors(other)))
        verdicts.add(ours is None)
    assert verdicts == {True, False}


def test_a_run_that_was_changed() -> None:
    check_agreement(run_json(["zs", "lp"], 3, parts=[{"name": "part-0a.parquet", "rows": 6}]), NEEDED)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "'schema' is missing"),
        ({"n": -1}, "'n' must be at least 0, got -1"),
        ({"n": 1, "names": ["a", ""]}, "'names[1]' must have 1 at least, got ''"),
        ({"n": True}, "'n' must be of type integer, got True"),
        ({"n": 1, "more": 1}, "'more' is not known"),
        ([], "it must be of type object, got []"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(value: object, said: str) -> None:
    properties = {"n": {"type": "integer", "minimum": 0}, "names": {"type": "array", "items": {"minLength": 1}}}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    assert disagreement(value, schema | ({"required": ["schema"]} if value == {} else {})) == said
