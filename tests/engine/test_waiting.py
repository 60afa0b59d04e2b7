"""The share of the time without data: near 1 where reading is slow, near 0 where the model is, and shown to people."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import function_models
import numpy as np
import pytest

from rate.artifacts.artifact import load_artifact
from rate.backends.base import IdleClock
from rate.backends.batches import clean_rows
from rate.backends.fake import FakeSpec
from rate.cli.main import run
from rate.data.images.geometry import Geometry
from rate.engine import job as jobs
from rate.engine.choose_backend import open_backend
from rate.engine.job import Job
from rate.engine.verdicts.estimator import Estimator
from rate.engine.verdicts.prediction import Head
from rate.execution import Execution
from rate.kernels.separable import rise
from rate.runs.run_document import read_run
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
    idle = summary.throughput.device_idle
    assert 0.5 < idle <= 1.0
    [session] = read_run(tmp_path / "run").sessions
    assert session.idle_s == pytest.approx(idle * session.seconds)
    assert run(["show", str(tmp_path / "run")]) == 0
    shown = re.search(r"waiting for data (\S+) % of the time, device idle (\S+) %", capsys.readouterr().out)
    assert shown is not None
    assert [float(one) for one in shown.groups()] == pytest.approx([100 * waiting, 100 * idle], abs=0.06)


def test_a_slow_model_hides_the_reading(image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first picture is waited for: the others are read while the model computes."""
    slow_reading(monkeypatch, 0.02)
    summary = function_models.evaluate(job(image_set(6)), model(0.1), tmp_path / "run")
    assert 0.0 < summary.throughput.waiting_for_data < 0.3
    assert 0.0 < summary.throughput.device_idle < 0.3


def test_a_slow_host_leaves_the_device_idle_without_waiting_for_data(image_set, tmp_path: Path, monkeypatch) -> None:
    fold = Estimator.fold

    def slow(*arguments):
        time.sleep(0.05)
        return fold(*arguments)

    monkeypatch.setattr(Estimator, "fold", slow)
    throughput = function_models.evaluate(job(image_set(6)), model(0.005), tmp_path / "run").throughput
    assert throughput.waiting_for_data < 0.2
    assert 0.6 < throughput.device_idle < 1.0


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_every_backend_tells_how_long_it_had_nothing_to_do(trained, backend: str) -> None:
    with open_backend(load_artifact(trained.artifact), Execution(backend, "f32", threads=1)) as opened:
        masks = rise(load_artifact(trained.artifact).geometry.size, 4)
        opened.bind(masks, 1)
        rows = clean_rows(masks, np.zeros(2, np.int64))
        first = opened.submit(rows)
        first.wait()
        time.sleep(0.2)
        second = opened.submit(rows)
        second.wait()
    assert first.idle_s < 0.2 <= second.idle_s < 10


def test_batches_that_overlap_leave_no_device_idle() -> None:
    clock = IdleClock()
    assert clock.begin() == 0.0
    time.sleep(0.02)
    assert clock.begin() == 0.0, "the first one runs"
    clock.end()
    time.sleep(0.02)
    clock.end()
    time.sleep(0.02)
    with clock.batch() as idle_s:
        assert 0.02 <= idle_s < 0.04 + 1.0


def test_the_shares_of_all_sessions_are_weighed_by_their_time(
    image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job(image_set(6))
    part = replace(whole, samples=tuple(whole.samples)[:3])
    first = function_models.evaluate(part, model(0.1), tmp_path / "run").throughput.waiting_for_data
    slow_reading(monkeypatch, 0.3)
    both = function_models.evaluate(whole, model(0.0), tmp_path / "run").throughput.waiting_for_data
    assert first < both < 1.0
