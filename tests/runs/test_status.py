"""How far a run is, seen from outside while a process works at it."""

from __future__ import annotations

from pathlib import Path

import pytest
from function_models import evaluate, job, light
from msgspec import structs

from rate.backends.fake import FakeSpec
from rate.engine.evaluate import Progress
from rate.runs.run_document import read_run, write_run
from rate.runs.status import Status, read_status


@pytest.fixture
def seen(image_set, tmp_path: Path) -> tuple[Path, list[Status]]:
    """A run of 12 images, one of them broken, that was looked at after every batch."""
    manifest, found = image_set(12), list[Status]()
    (manifest.parent / "7.png").write_bytes(b"")

    def look(_: Progress) -> None:
        found.append(read_status(tmp_path / "run"))

    evaluate(job(manifest), FakeSpec(light), tmp_path / "run", look, part_rows=4)
    return tmp_path / "run", found


def test_a_running_run_grows_and_tells_the_time_that_is_left(seen) -> None:
    _, found = seen
    assert {status.status for status in found} == {"running"}
    assert all(status.is_alive for status in found)
    done = [status.done for status in found]
    assert done == sorted(done)
    assert done[0] == 0
    assert 6 <= done[-1] <= 12
    late = found[-1]
    assert late.samples_per_s is not None
    assert late.seconds_left == pytest.approx((12 - late.done) / late.samples_per_s)


def test_a_finished_run_says_what_became_of_every_sample(seen) -> None:
    status = read_status(seen[0])
    assert (status.status, status.is_alive, status.planned, status.done, status.errors) == (
        "complete",
        False,
        12,
        12,
        1,
    )
    assert status.settled == {"fixed": 22}
    assert status.seconds_left is None


def test_a_run_whose_process_is_gone_is_interrupted(seen) -> None:
    write_run(seen[0], structs.replace(read_run(seen[0]), status="running", rows=None))
    assert read_status(seen[0]).status == "interrupted"
