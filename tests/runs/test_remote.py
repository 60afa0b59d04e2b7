"""A run on an S3 storage: parts and a log, no lock; killed, taken over and read like a run in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from function_models import evaluate, job, light
from object_store import ObjectStore
from stored_rows import stored

from rate.backends.fake import FakeSpec
from rate.engine.evaluate import Progress
from rate.errors import RunError, StorageError
from rate.report.heads import load_heads
from rate.runs import merge
from rate.runs.remote import local_run, run_for_writing
from rate.runs.run_document import read_run
from rate.runs.status import read_status
from rate.runs.summary.summarise import load_summary

URL = "s3://pictures/runs/one"


def another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / name))


def written(asked: object, url: str = URL, stop: int | None = None) -> None:
    def observe(now: Progress) -> None:
        if stop is not None and now.done >= stop:
            raise KeyboardInterrupt

    with run_for_writing(url) as folder:
        evaluate(asked, FakeSpec(light), folder, observe, part_rows=8)


def names(store: ObjectStore) -> list[str]:
    return [name.removeprefix("pictures/runs/one/") for name in store.files.find("pictures/runs/one")]


def test_a_run_is_that_of_a_folder_and_is_read_elsewhere(
    image_set, tmp_path: Path, store: ObjectStore, monkeypatch
) -> None:
    manifest = image_set(20)
    written(job(manifest))
    evaluate(job(manifest), FakeSpec(light), tmp_path / "run", part_rows=8)
    another_machine(monkeypatch, tmp_path, "reader")
    assert stored(local_run(URL)) == stored(tmp_path / "run")
    assert load_summary(local_run(URL)).heads == load_summary(tmp_path / "run").heads
    store.asked.clear()
    assert [head.name for head in load_heads(f"{URL}@a")] == ["one@a"]
    assert store.count("GET", "/pictures") == len(store.asked) == 1, "one listing tells that the copy is whole"
    assert read_status(local_run(URL)).status == "complete"
    assert {name.partition("/")[0] for name in names(store)} == {"log", "samples", "maps", "run.json", "summary.json"}


def test_an_interrupted_run_goes_on_elsewhere(image_set, tmp_path: Path, store: ObjectStore, monkeypatch) -> None:
    manifest = image_set(40)
    with pytest.raises(KeyboardInterrupt):
        written(job(manifest), stop=9)
    done = {row["id"] for row in stored(local_run(URL))}
    assert 9 <= len(done) < 40
    another_machine(monkeypatch, tmp_path, "other")
    written(job(manifest))
    evaluate(job(manifest), FakeSpec(light), tmp_path / "run", part_rows=8)
    assert stored(local_run(URL)) == stored(tmp_path / "run")
    assert len(read_run(local_run(URL)).sessions) == 2


def test_what_was_not_logged_when_a_process_was_killed_does_not_count(
    image_set, tmp_path: Path, store: ObjectStore
) -> None:
    manifest = image_set(24)
    broken: list[str] = []

    def refuse(method: str, path: str) -> tuple[str, str] | None:
        if method == "PUT" and "/log/" in path and store.count("PUT", "/samples/") >= 2:
            broken.append(path)
            return "403 Forbidden", "AccessDenied"
        return None

    store.refuse = refuse
    with pytest.raises(StorageError, match=r"runs/one/log/.*cannot be written.*run the same command again"):
        written(job(manifest))
    assert broken
    store.refuse = lambda method, path: None
    parts = [name for name in names(store) if name.startswith("samples/")]
    listed = {row["id"] for row in stored(local_run(URL))}
    assert len(parts) == 2
    assert len(listed) == 4, "one part of two"
    written(job(manifest))
    evaluate(job(manifest), FakeSpec(light), tmp_path / "run", part_rows=8)
    assert stored(local_run(URL)) == stored(tmp_path / "run")


def test_the_command_that_began_last_owns_the_run(image_set, tmp_path: Path, store: ObjectStore, monkeypatch) -> None:
    manifest = image_set(40)
    taken: list[int] = []

    def observe(now: Progress) -> None:
        if not taken and now.done >= 9:
            taken.append(now.done)
            another_machine(monkeypatch, tmp_path, "other")
            written(job(manifest))
            another_machine(monkeypatch, tmp_path, "cache")

    said = r"another command, on .*, has begun to write to s3://pictures/runs/one"
    with pytest.raises(RunError, match=said), run_for_writing(URL) as folder:
        evaluate(job(manifest), FakeSpec(light), folder, observe, part_rows=8)
    evaluate(job(manifest), FakeSpec(light), tmp_path / "run", part_rows=8)
    another_machine(monkeypatch, tmp_path, "reader")
    assert stored(local_run(URL)) == stored(tmp_path / "run")
    assert read_status(local_run(URL)).status == "complete"


def test_a_run_of_other_settings_is_refused_and_disturbs_nobody(image_set, store: ObjectStore) -> None:
    written(job(image_set(8)))
    before = names(store)
    with pytest.raises(RunError, match="holds a run with other settings"):
        written(job(image_set(9, folder="other")))
    assert names(store) == before


def test_a_storage_that_ignores_the_condition_is_refused(image_set, store: ObjectStore) -> None:
    store.ignored = "HTTP_IF_NONE_MATCH"
    with pytest.raises(RunError, match=r"ignores the condition of a put \(If-None-Match\).*write to a folder"):
        written(job(image_set(8)))
    assert not [name for name in names(store) if name.startswith("log/")]


def test_another_folder_of_objects_is_not_written_to(image_set, store: ObjectStore) -> None:
    store.put("runs/one/notes.txt", b"mine")
    with pytest.raises(RunError, match=r"holds 'notes\.txt' and no run"):
        written(job(image_set(8)))
    with pytest.raises(RunError, match=r"s3://pictures/runs/one is no run"):
        local_run(URL)


def test_other_storages_are_refused(image_set) -> None:
    with pytest.raises(RunError, match=r"--out gs://b/run: runs are written to folders and to S3"):
        written(job(image_set(8)), "gs://b/run")


def test_shards_are_merged_there(image_set, tmp_path: Path, store: ObjectStore) -> None:
    manifest = image_set(20)
    for shard in ("1/2", "2/2"):
        written(job(manifest, shard=shard), f"s3://pictures/runs/{shard[0]}")
    runs = [local_run(f"s3://pictures/runs/{k}") for k in (1, 2)]
    with run_for_writing(URL) as folder:
        assert merge.merge(runs, folder).status == "complete"
    evaluate(job(manifest), FakeSpec(light), tmp_path / "run")
    assert stored(local_run(URL)) == stored(tmp_path / "run")


@pytest.mark.parametrize("key", ["../../outside.json", "maps/../../outside.json", "a/b/outside.json"])
def test_a_run_that_names_files_outside_of_its_folder_is_not_fetched(image_set, store: ObjectStore, key: str) -> None:
    written(job(image_set(6)))
    store.put(f"runs/one/{key}", b"{}")
    with pytest.raises(RunError, match=r"outside\.json', which is no file of a run"):
        local_run(URL)


@pytest.mark.parametrize("entry", [b"[]", b"{}", b'{"replaces": true, "lines": ["{}"], "run": null}'])
def test_a_log_that_is_no_log_is_refused(store: ObjectStore, entry: bytes) -> None:
    store.put("runs/one/log/000000001.json", entry)
    with pytest.raises(RunError, match="cannot be fetched"):
        local_run(URL)


def test_a_log_that_names_a_part_elsewhere_is_refused(store: ObjectStore) -> None:
    line = b'{\\"name\\": \\"../../outside\\"}'
    store.put("runs/one/log/000000001.json", b'{"replaces": true, "lines": ["' + line + b'"], "run": null}')
    with pytest.raises(RunError, match="is no file of a run"):
        local_run(URL)
