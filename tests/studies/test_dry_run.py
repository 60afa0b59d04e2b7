"""What a run would cost, before anything is computed or written."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from function_models import job, light, open_spec

from rate.backends.fake import FakeSpec
from rate.studies.dry_run import estimate
from rate.types import Float32


def slow(x: Float32) -> dict[str, Float32]:
    """Takes two milliseconds a row."""
    time.sleep(0.002 * len(x))
    return light(x)


def test_workers_share_the_time_and_not_the_work(image_set, tmp_path: Path) -> None:
    one = job(image_set(12), batch=20)
    with open_spec(FakeSpec(slow)) as backend:
        alone, shared = (estimate(one, backend, workers, tmp_path / "run") for workers in (1, 4))
    assert alone.forwards == shared.forwards == 12 * 41
    assert alone.seconds == pytest.approx(12 * 41 * 0.002, rel=0.4)
    assert shared.seconds == pytest.approx(alone.seconds / 4, rel=0.4)
    assert not (tmp_path / "run").exists()
