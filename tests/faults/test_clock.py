"""The clock of the wall may be set back or forth while a run works: nothing depends on it."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest
from function_models import evaluate, job, light
from stored_rows import stored

from rate.backends.fake import FakeSpec
from rate.engine.evaluate import Progress
from rate.runs.part_list import read_list
from rate.runs.run_document import read_run

YEAR = 365.0 * 86_400


def times(kind: str) -> object:
    start = time.time()
    return {
        "back": (start - 60 * k for k in itertools.count()),
        "forth": (start + YEAR * k for k in itertools.count()),
        "to and fro": (start + YEAR * (-1) ** k for k in itertools.count()),
    }[kind]


@pytest.mark.parametrize("kind", ["back", "forth", "to and fro"])
def test_a_clock_that_is_set_changes_nothing(
    image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    manifest = image_set(12)
    evaluate(job(manifest), FakeSpec(light), tmp_path / "steady")
    clock = iter(times(kind))
    monkeypatch.setattr(time, "time", lambda: next(clock))
    monkeypatch.setattr(time, "time_ns", lambda: int(next(clock) * 1e9))
    os.utime(manifest, (time.time(), time.time()))
    seen: list[Progress] = []
    evaluate(job(manifest), FakeSpec(light), tmp_path / "run", seen.append)
    assert stored(tmp_path / "run") == stored(tmp_path / "steady")
    assert len(read_list(tmp_path / "run")) == 1, "no part was closed early"
    seconds = [progress.seconds for progress in seen]
    assert seconds == sorted(seconds)
    assert 0 <= seconds[0] <= seconds[-1] < 60
    session = read_run(tmp_path / "run").sessions[-1]
    assert 0 <= session.waiting_s <= session.seconds < 60
