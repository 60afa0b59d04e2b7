"""What a run would cost, before anything is computed or written."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from function_models import evaluate, job, light, open_spec

from rate.backends.fake import FakeSpec
from rate.errors import RunError
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


def test_a_typical_time_is_that_of_some_samples_where_verdicts_stop_early(image_set, tmp_path: Path) -> None:
    manifest = image_set(24)
    with open_spec(FakeSpec(light)) as backend:
        early = estimate(job(manifest, verdict="swap", fills="auto"), backend, 1, tmp_path / "run")
        fixed = estimate(job(manifest, verdict="swap", fills=8), backend, 1, tmp_path / "run")
    assert early.typical_forwards is not None
    assert 24 * 9 <= early.typical_forwards < early.forwards
    assert early.typical_seconds == pytest.approx(early.seconds * early.typical_forwards / early.forwards)
    assert fixed.typical_forwards is None


def test_a_run_of_other_settings_is_refused_with_both_values(image_set, tmp_path: Path) -> None:
    manifest = image_set(4)
    evaluate(job(manifest), FakeSpec(light), tmp_path / "run")
    with (
        open_spec(FakeSpec(light)) as backend,
        pytest.raises(RunError, match=r"holds a run with other settings \(measurement\.seed: 0 there, 1 now\)"),
    ):
        estimate(job(manifest, seed=1), backend, 1, tmp_path / "run")
