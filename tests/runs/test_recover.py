"""A run folder whose run.json is lost or does not add up: recovered from whole parts, or refused with the cure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from function_models import evaluate as evaluate_in_parts
from function_models import job, light

from rate import records
from rate.backends.fake import FakeSpec
from rate.errors import RateError, RunError, TooManyErrors
from rate.report.heads import load_heads
from rate.report.html.samples.selection import select
from rate.runs import parts
from rate.runs.merge import merge
from rate.runs.part_list import PartLog, read_list
from rate.runs.parts import KEY, read_rows, read_table, write_table
from rate.runs.rows import SCHEMA
from rate.runs.run_document import read_run
from rate.runs.status import read_status
from rate.runs.summary.summarise import load_summary

COUNT = 8
evaluate = partial(evaluate_in_parts, part_rows=4, sorted_rows=4)
"""A sample has two rows, a part two samples or about as many."""


@pytest.fixture
def manifest(image_set) -> Path:
    return image_set(COUNT)


@pytest.fixture
def run(manifest: Path, tmp_path: Path) -> Path:
    evaluate(job(manifest), FakeSpec(light), tmp_path / "run")
    return tmp_path / "run"


def again(manifest: Path, run: Path, **execution: object) -> int:
    """Go on with a run; how many samples were evaluated."""
    evaluate(job(manifest, **execution), FakeSpec(light), run)
    return int(read_run(run).sessions[-1].samples)


def rows_of(run: Path) -> list[dict]:
    return sorted(read_rows(run, read_run(run)).to_pylist(), key=lambda row: (row["id"], row["head"]))


def change(run: Path, edit: Callable[[dict], None]) -> None:
    document = records.read_json(run / "run.json")
    del document[records.DIGEST]
    edit(document)
    records.write(run / "run.json", document, digest=True)


def part_files(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "samples").iterdir()}


READERS: dict[str, Callable[[Path], object]] = {
    "summary": load_summary,
    "heads": lambda run: load_heads(str(run)),
    "status": read_status,
    "merge": lambda run: merge([run], run.with_name("merged")),
}
UNREADABLE = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a changed value": lambda text: text.replace('"seed": 0', '"seed": 4'),
}


@pytest.mark.parametrize("with_summary", [False, True], ids=["before the summary", "after it"])
def test_lost_and_taken_up_again_nothing_is_evaluated_twice(manifest: Path, run: Path, with_summary: bool) -> None:
    before, files, maps = rows_of(run), part_files(run), (run / "maps" / "maps.parquet").read_bytes()
    (run / "run.json").unlink()
    if not with_summary:
        (run / "summary.json").unlink()
    assert again(manifest, run) == 0
    assert rows_of(run) == before
    assert part_files(run) == files
    assert (run / "maps" / "maps.parquet").read_bytes() == maps
    assert read_run(run).status == "complete"


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_every_reader_of_a_lost_record_names_the_cure(run: Path, reader: Callable[[Path], object]) -> None:
    (run / "run.json").unlink()
    with pytest.raises(RunError, match=r"run\.json.*--repair"):
        reader(run)


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
def test_a_damaged_record_is_refused_with_the_cure_and_repaired(
    manifest: Path, run: Path, damage: Callable[[str], str]
) -> None:
    before, text = rows_of(run), (run / "run.json").read_text()
    (run / "run.json").write_text(damage(text))
    files = part_files(run)
    for reader in READERS.values():
        with pytest.raises(RunError, match="--repair"):
            reader(run)
    with pytest.raises(RunError, match="--repair"):
        again(manifest, run)
    assert part_files(run) == files
    assert again(manifest, run, repair=True) == 0
    assert rows_of(run) == before


def test_a_record_that_lacks_something_is_repaired(manifest: Path, run: Path) -> None:
    change(run, lambda document: document.pop("heads"))
    with pytest.raises(RunError, match=r"heads.*--repair"):
        again(manifest, run)
    assert again(manifest, run, repair=True) == 0


def test_parts_of_another_run_are_refused_and_stay(manifest: Path, run: Path, image_set) -> None:
    """Neither a lost record nor `--repair` lets a run of other settings delete or take what is there."""
    files = part_files(run)
    (run / "run.json").unlink()
    other = image_set(COUNT - 1, folder="others")
    for repair in (False, True):
        with pytest.raises(RunError, match="choose another --out"):
            again(other, run, repair=repair)
    assert part_files(run) == files
    assert again(manifest, run) == 0


def test_a_damaged_part_of_a_lost_record_is_refused_until_repair(manifest: Path, run: Path) -> None:
    before = rows_of(run)
    part = read_list(run)[0]
    path = run / "samples" / part.name
    path.write_bytes(path.read_bytes()[:-100])
    (run / "run.json").unlink()
    with pytest.raises(RunError, match=rf"{part.name}.*--repair"):
        again(manifest, run)
    assert path.exists()
    assert again(manifest, run, repair=True) == part.rows // 2
    assert rows_of(run) == before


def listed_twice(lines: list[bytes]) -> list[bytes]:
    return [*lines, lines[0]]


def dropped(lines: list[bytes]) -> list[bytes]:
    return lines[:1]


def torn(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1][:-1]]


def changed(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b'"errors":0', b'"errors":1'), *lines[1:]]


LISTS = {"a part listed twice": listed_twice, "parts dropped": dropped, "cut": torn, "a changed value": changed}


@pytest.mark.parametrize("edit", LISTS.values(), ids=LISTS)
def test_a_list_that_does_not_add_up_is_refused_by_all_and_repaired(
    manifest: Path, run: Path, edit: Callable[[list[bytes]], list[bytes]]
) -> None:
    before, path = rows_of(run), run / "parts.jsonl"
    path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))
    for reader in READERS.values():
        with pytest.raises(RunError, match="--repair"):
            reader(run)
    assert again(manifest, run, repair=True) == 0, "the parts are there"
    assert rows_of(run) == before


def test_a_sample_in_two_parts_is_refused_and_stored_once_after_repair(manifest: Path, run: Path) -> None:
    before, listed = rows_of(run), read_list(run)
    table = parts.read_part(run, listed[0])
    half = table.filter([one == table["id"][0].as_py() for one in table["id"].to_pylist()])
    PartLog(run).replace([*listed, parts.write_part(run, read_run(run).key, half)])
    for reader in set(READERS.values()) - {read_status}:
        with pytest.raises(RunError, match=r"twice.*--repair"):
            reader(run)
    again(manifest, run, repair=True)
    assert rows_of(run) == before


def test_a_part_without_the_rows_of_one_head_is_refused(manifest: Path, run: Path) -> None:
    before, listed = rows_of(run), read_list(run)
    table = parts.read_part(run, listed[0])
    one_head = table.filter([head == "a" for head in table["head"].to_pylist()])
    written = parts.write_part(run, read_run(run).key, one_head)
    PartLog(run).replace([written, *listed[1:]])
    change(run, lambda document: document.update(rows=2 * COUNT - written.rows))
    with pytest.raises(RunError, match=rf"{written.name}.*--repair"):
        load_summary(run)
    assert again(manifest, run, repair=True) == written.rows
    assert rows_of(run) == before


def test_a_part_of_another_run_that_lies_in_a_run_is_never_deleted(manifest: Path, run: Path, image_set) -> None:
    other = run.with_name("other")
    evaluate(job(image_set(2, folder="others")), FakeSpec(light), other)
    [part] = read_list(other)
    stray = run / "samples" / part.name
    shutil.copyfile(other / "samples" / part.name, stray)
    for repair in (False, True):
        with pytest.raises(RunError, match=part.name):
            again(manifest, run, repair=repair)
    assert stray.exists()


def test_damaged_maps_are_refused_and_repair_evaluates_their_samples_again(manifest: Path, run: Path) -> None:
    path = run / "maps" / "maps.parquet"
    data, before = bytearray(path.read_bytes()), rows_of(run)
    data[len(data) // 3] ^= 4
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"maps\.parquet.*--repair"):
        select(load_heads(str(run)), 10)
    assert again(manifest, run, repair=True) == COUNT
    assert rows_of(run) == before
    assert not any(shown.coarse for shown in select(load_heads(str(run)), 10))


def test_repair_of_a_run_without_maps_evaluates_nothing(manifest: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    evaluate(job(manifest, save_maps=0), FakeSpec(light), run)
    assert again(manifest, run, save_maps=0, repair=True) == 0
    assert again(manifest, run, repair=True) == 0, "the run was asked for none"


def test_a_run_that_failed_on_every_sample_says_failed_everywhere(manifest: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for path in manifest.parent.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(TooManyErrors):
        evaluate(job(manifest), FakeSpec(light), run)
    assert {load_summary(run).status, read_run(run).status, read_status(run).status} == {"failed"}
    assert {head.status for head in load_heads(str(run))} == {"failed"}


def test_a_folder_that_was_moved_under_its_process_gets_no_more_parts(manifest: Path, tmp_path: Path) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"

    def move(_: object) -> None:
        if not moved.exists() and read_list(run):
            run.rename(moved)
            (run / "samples").mkdir(parents=True)
            (run / "maps").mkdir()

    with pytest.raises(RateError, match="moved"):
        evaluate(job(manifest), FakeSpec(light), run, move)
    assert not list((run / "samples").iterdir())
    assert not (run / "run.json").exists()
    run.rename(tmp_path / "empty")
    moved.rename(run)
    again(manifest, run)
    assert read_run(run).status == "complete"


def test_a_pipe_in_the_place_of_the_record_is_refused(run: Path) -> None:
    (run / "run.json").unlink()
    os.mkfifo(run / "run.json")
    with pytest.raises(RunError, match="regular file"):
        read_run(run)


def test_a_part_whose_stored_key_is_damaged_is_evaluated_again(manifest: Path, run: Path) -> None:
    before, record = rows_of(run), read_run(run)
    path = run / "samples" / read_list(run)[0].name
    rows = read_table(path, SCHEMA).replace_schema_metadata(SCHEMA.metadata)
    write_table(rows, path, {KEY: record.key[::-1]})
    with pytest.raises(RunError, match="--repair"):
        load_heads(str(run))
    assert again(manifest, run, repair=True) > 0
    assert rows_of(run) == before
