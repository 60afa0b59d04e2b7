"""A run folder at the moments when a process can die."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from run_rows import IDENTITY, run_json

from rate.errors import RunError
from rate.runs.part_list import ListedPart, PartLog, read_list
from rate.runs.parts import read_rows
from rate.runs.rows import Records, RunStats, SampleResult
from rate.runs.run_document import read_run, write_run
from rate.runs.store import RunStore
from rate.types import Sample

ZEROS = "0" * 16


def opened(folder: Path, key: str = "0" * 64, available: int = 2, **settings: Any) -> RunStore:
    return RunStore(folder, key, run_json(["a"], available), keep_maps=0, **settings)


def sample(k: int) -> Sample:
    return Sample(f"s{k}", "x", f"/{k}.png", boxes=())


def add(store: RunStore, *numbers: int) -> None:
    broken = (SampleResult.of_error(sample(k), ["a"], "broken") for k in numbers)
    store.add(Records(tuple(broken), RunStats(samples=len(numbers))), 0.0)


def break_off(folder: Path, error: type[BaseException]) -> None:
    with opened(folder) as store:
        add(store, 1, 2)
        raise error


def ids(folder: Path) -> list[str]:
    return sorted(read_rows(folder, read_run(folder), ["id"]).column("id").to_pylist())


def test_parts_close_at_their_size_and_at_the_end(tmp_path: Path) -> None:
    with opened(tmp_path / "run", available=7, part_rows=3) as store:
        add(store, *range(7))
        assert [part.rows for part in read_list(tmp_path / "run")] == [3, 3]
        store.finish(7)
    assert ids(tmp_path / "run") == [f"s{k}" for k in range(7)]
    assert read_run(tmp_path / "run").status == "failed", "not one sample was evaluated"


def test_parts_close_after_their_time(tmp_path: Path) -> None:
    with opened(tmp_path / "run", part_seconds=0.0) as store:
        add(store, 1)
        assert len(read_list(tmp_path / "run")) == 1
        store.finish(1)


def test_a_part_that_was_written_but_not_listed_counts_when_the_run_goes_on(tmp_path: Path) -> None:
    """The process died between the rename of the part and the line in the list."""
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path / "run", KeyboardInterrupt)
    [part] = read_list(tmp_path / "run")
    PartLog(tmp_path / "run").replace(())
    write_run(tmp_path / "run", structs.replace(read_run(tmp_path / "run"), rows=None, status="running"))
    (tmp_path / "run" / "samples" / f".part-{ZEROS}.parquet.rate-{'1' * 16}.tmp").write_bytes(b"torn")
    with opened(tmp_path / "run") as store:
        assert len(store.done) == 2
        store.finish(2)
    assert ids(tmp_path / "run") == ["s1", "s2"]
    assert [p.name for p in (tmp_path / "run" / "samples").iterdir()] == [part.name]


def test_an_error_marks_the_run_failed_and_keeps_what_is_settled(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        break_off(tmp_path / "run", ZeroDivisionError)
    assert read_run(tmp_path / "run").status == "failed"
    assert ids(tmp_path / "run") == ["s1", "s2"]


def test_a_folder_of_another_key_says_what_differs(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as store:
        store.finish(2)
    about = run_json(["a"], 2, identity=IDENTITY | {"weights": "v"})
    other = RunStore(tmp_path / "run", "1" * 64, about, keep_maps=0)
    with pytest.raises(RunError, match=r"identity.weights: 'w+' there, 'v' now"):
        other.__enter__()
    with opened(tmp_path / "run"):  # the refused one let go of the lock
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "other/1"}'])
def test_a_malformed_run_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json"):
        read_run(tmp_path)


def test_a_process_killed_while_it_wrote_the_first_record_leaves_a_usable_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    (folder / "maps").mkdir()
    (folder / "lock").touch()
    (folder / f".run.json.rate-{'1' * 16}.tmp").write_text("{")
    (folder / "maps" / f".maps.parquet.rate-{'1' * 16}.tmp").write_bytes(b"torn")
    with opened(folder) as store:
        add(store, 1)
        store.finish(1)
    assert ids(folder) == ["s1"]
    assert not list(folder.rglob("*.tmp"))


def test_a_part_is_listed_once_when_the_interrupt_comes_just_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = PartLog.append

    def append_and_interrupt(log: PartLog, part: ListedPart) -> None:
        append(log, part)
        monkeypatch.undo()
        raise KeyboardInterrupt

    def broken_off() -> None:
        with opened(tmp_path / "run") as store:
            add(store, 1, 2)
            monkeypatch.setattr(PartLog, "append", append_and_interrupt)
            store.finish(2)

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert ids(tmp_path / "run") == ["s1", "s2"]


def test_a_file_that_goes_away_while_the_folder_is_cleaned_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of an owner that was killed may still be taking its temporary file away."""
    with opened(tmp_path / "run") as store:
        add(store, 1)
        store.finish(1)
    there = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: [*there(folder), folder / f".run.json.rate-{'1' * 16}.tmp"])
    with opened(tmp_path / "run") as store:
        store.finish(1)
    assert ids(tmp_path / "run") == ["s1"]


FOREIGN = {
    "photographs in samples": "samples/holiday.jpg",
    "a table of somebody else": "samples/part-1.parquet",
    "a lock with content": "lock",
    "notes": "notes.txt",
}


@pytest.mark.parametrize("name", FOREIGN.values(), ids=FOREIGN)
def test_a_folder_that_is_not_empty_and_no_run_is_refused_and_stays_as_it_is(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "holidays"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("mine")
    with pytest.raises(RunError, match=re.escape(str(folder))):
        opened(folder).__enter__()
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == [name]
    assert (folder / name).read_text() == "mine"


def test_a_link_to_photographs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "1.jpg").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "samples").symlink_to(tmp_path / "photographs")
    with pytest.raises(RunError, match="samples"):
        opened(tmp_path / "run").__enter__()
    assert (tmp_path / "photographs" / "1.jpg").read_text() == "mine"


def test_in_a_run_only_names_that_parts_have_are_deleted(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with opened(run) as store:
        add(store, 1)
        store.finish(1)
    foreign = [run / where / name for where in ("samples", "maps") for name in ("part-1.parquet", "mine.tmp", "1.jpg")]
    for path in foreign:
        path.write_text("mine")
    with opened(run) as store:
        store.finish(1)
    assert [path.read_text() for path in foreign] == ["mine"] * len(foreign)


def test_no_part_is_deleted_through_a_link(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    with opened(run, available=0) as store:
        store.finish(0)
    elsewhere.mkdir()
    of_another_run = elsewhere / f"part-{ZEROS}.parquet"
    of_another_run.write_text("another run's")
    (run / "samples").rmdir()
    (run / "samples").symlink_to(elsewhere)
    with opened(run, available=0):
        pass
    assert of_another_run.read_text() == "another run's"
