"""The share of the time without data: near 1 where reading is slow, near 0 where the model is, and shown to people."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import function_models
import numpy as np
import pytest

from rate.backends.fake import FakeSpec
from rate.cli.main import run
from rate.data.images.geometry import Geometry
from rate.engine import job as jobs
from rate.engine.job import Job
from rate.engine.verdicts.prediction import Head
from rate.types import Float32

GEOMETRY = Geometry(16, 16, (0.5,) * 3, (0.25,) * 3)


def job(manifest: Path) -> Job:
    return function_models.job(manifest, heads=(Head("a", ("dark", "light")),), geometry=GEOMETRY, masks=10, threads=1)


def model(pause: float):
    def logits(x: Float32) -> dict[str, Float32]:
        time.sleep(pause)
        light = x.mean(axis=(1, 2, 3))
        return {"a": np.stack([-light, light], axis=1).astype(np.float32)}

    return FakeSpec(logits)


def slow_reading(monkeypatch: pytest.MonkeyPatch, pause: float) -> None:
    read = jobs.prepare

    def slow(sample, **how):
        time.sleep(pause)
        return read(sample, **how)

    monkeypatch.setattr(jobs, "prepare", slow)


def test_slow_reading_shows(image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    slow_reading(monkeypatch, 0.2)
    summary = function_models.evaluate(job(image_set(6)), model(0.0), tmp_path / "run")
    waiting = summary.throughput.waiting_for_data
    assert 0.5 < waiting <= 1.0
    assert run(["show", str(tmp_path / "run")]) == 0
    shown = re.search(r"waiting for data (\S+) % of the time", capsys.readouterr().out)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(100 * waiting, abs=0.06)


def test_a_slow_model_hides_the_reading(image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first picture is waited for: the others are read while the model computes."""
    slow_reading(monkeypatch, 0.02)
    summary = function_models.evaluate(job(image_set(6)), model(0.1), tmp_path / "run")
    assert 0.0 < summary.throughput.waiting_for_data < 0.3


def test_the_shares_of_all_sessions_are_weighed_by_their_time(
    image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job(image_set(6))
    part = replace(whole, samples=tuple(whole.samples)[:3])
    first = function_models.evaluate(part, model(0.1), tmp_path / "run").throughput.waiting_for_data
    slow_reading(monkeypatch, 0.3)
    both = function_models.evaluate(whole, model(0.0), tmp_path / "run").throughput.waiting_for_data
    assert first < both < 1.0
