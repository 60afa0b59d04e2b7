"""Questions with options, in every form of a set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from rate.data.bank import Bank, BankDraw
from rate.data.evaluation_set import read_evaluation_set
from rate.data.formats.manifest_files import write_rows
from rate.data.formats.pack import pack
from rate.data.manifest import read_manifest
from rate.errors import DataError
from rate.reading import Reading
from rate.types import Picture, Prepared, Question, Sample

BLANK = Picture.of_colour(np.zeros(3, np.float32), 1)

DOG = Question("Is there a dog?", ("yes", "no"))
KIND = Question("What is it: a cat, or a dog?", ("cat", "dog"))
"""Such a question has a comma, and is quoted in a CSV."""


def rows(folder: Path) -> list[dict[str, Any]]:
    Image.new("RGB", (8, 8), "red").save(folder / "a.png")
    Image.new("RGB", (8, 8), "blue").save(folder / "b.png")
    corners = {"x0": 1.0, "y0": 1.0, "x1": 4.0, "y1": 4.0}
    return [
        {"id": "1", "image": "a.png", "label": "yes", "question": DOG.text, "options": "yes|no"} | corners,
        {"id": "2", "image": "a.png", "label": "dog", "question": KIND.text, "options": " cat | dog "} | corners,
        {"id": "3", "image": "b.png", "label": "no"} | corners,
    ]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_manifest_has_a_question_a_row(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"set{suffix}"
    write_rows(path, rows(tmp_path))
    expected = [DOG, KIND, None]
    assert [sample.question for sample in read_manifest(path).samples] == expected
    read = read_evaluation_set(str(path))
    assert [sample.question for sample in read] == expected
    assert read.asked.without == 1
    assert read.asked.first == {DOG.options: DOG, KIND.options: KIND}
    pack(str(path), tmp_path / "shards")
    assert [sample.question for sample in read_evaluation_set(str(tmp_path / "shards/000000.tar"))] == expected


def test_lists_are_options_too_and_may_hold_the_separator(tmp_path: Path) -> None:
    [first, *_] = rows(tmp_path)
    bars = Question(DOG.text, ("yes|no", "no"))
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(first | {"label": "yes|no", "options": list(bars.options)}) + "\n")
    assert [sample.question for sample in read_evaluation_set(str(path))] == [bars]
    pack(str(path), tmp_path / "shards")
    assert [sample.question for sample in read_evaluation_set(str(tmp_path / "shards/000000.tar"))] == [bars]


def test_tables_with_pictures_have_questions_by_any_name(tmp_path: Path) -> None:
    given = [
        {"img": (tmp_path / one["image"]).read_bytes(), "label": one["label"], "boxes": [[1.0, 1.0, 4.0, 4.0]]}
        | {"q": one.get("question"), "choices": one.get("options", "x|y").split("|")}
        for one in rows(tmp_path)
    ]
    path = tmp_path / "table.parquet"
    parquet.write_table(pa.Table.from_pylist(given), path)
    reading = Reading(columns="image=img,question=q,options=choices")
    assert [one.question for one in read_evaluation_set(str(path), reading=reading)] == [DOG, KIND, None]


def test_the_question_is_part_of_the_digest_and_none_leaves_it_as_it_was(tmp_path: Path) -> None:
    def digest(**changes: str) -> str:
        [first, *_] = rows(tmp_path)
        write_rows(tmp_path / "set.csv", [first | changes])
        return read_evaluation_set(str(tmp_path / "set.csv")).digest

    assert len({digest(), digest(question="Is there?"), digest(options="yes|maybe"), digest(options="no|yes")}) == 4
    assert digest(question="") == digest(question="", options="") == digest(options="")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label": "maybe"}, "row 1: label 'maybe' is none of the options yes|no"),
        ({"options": "yes"}, "row 1: options must be two or more different texts, such as yes|no, got 'yes'"),
        ({"options": "yes|yes"}, "row 1: options must be two or more different texts, such as yes|no, got 'yes|yes'"),
        ({"options": "yes||no"}, "row 1: options must be two or more different texts"),
        ({"options": '["yes", 1]'}, "row 1: options must be texts with | between them"),
        ({"options": "[yes"}, "row 1: options is not JSON"),
    ],
)
def test_a_row_that_asks_wrongly_is_refused(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    [first, *_] = rows(tmp_path)
    write_rows(tmp_path / "set.csv", [first | changes])
    with pytest.raises(DataError) as caught:
        read_evaluation_set(str(tmp_path / "set.csv"))
    assert said in str(caught.value)


def samples(count: int) -> list[Sample]:
    """Every image is asked two questions of two answers."""
    return [
        Sample(f"{k}-{name}", answer, f"/{k}.png", boxes=(), question=question)
        for k in range(count)
        for name, question, answer in (("dog", DOG, DOG.options[k % 2]), ("kind", KIND, KIND.options[k % 2]))
    ]


def test_a_sample_meets_no_picture_that_answers_its_question_alike_and_never_its_own_image() -> None:
    bank = Bank(tuple(samples(8)), 0, asks=True)
    for sample in bank.pictures:
        met = {bank.pictures[k].id for k in bank.order(sample)}
        alike = {one.id for one in bank.pictures if (one.question, one.label) == (sample.question, sample.label)}
        assert met == {one.id for one in bank.pictures if one.image != sample.image} - alike
        assert len(met) >= bank.fewest > 0
    assert all(bank.pictures[k].label == "cat" for k in replace(bank, asks=False).order(samples(2)[3]) if k % 2)


def test_half_of_a_bank_at_most_answers_one_question_alike() -> None:
    draw = BankDraw(8, 0, asks=True)
    for k in range(40):
        draw.add(Sample(str(k), "yes", f"/{k}.png", boxes=(), question=DOG if k < 36 else KIND))
    drawn = draw.bank(lambda sample: Prepared(sample, BLANK, np.zeros((1, 1), np.bool_)))
    assert sum(one.question == DOG for one in drawn.pictures) == 4
