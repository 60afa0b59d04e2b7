"""The estimated cost of a run: forwards, time and disk, from a few timed batches."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from rate.backends.base import Backend
from rate.data.digests import IdSet
from rate.engine.engine import Engine, slots_of
from rate.engine.job import Job
from rate.engine.schedule import CLEAN_ROWS
from rate.errors import RunError
from rate.records import Count, Document, Sha256
from rate.runs.folder import part_files
from rate.runs.parts import ids_of
from rate.runs.rows import MAP
from rate.runs.run_document import read_run
from rate.statistics.metrics import QUADRANTS

ROW_BYTES = 900
"""The stored bytes of a row with its sketches, before compression."""


class Estimate(Document, frozen=True, tag="rate.estimate/1"):
    """The remaining work and its estimated cost on this machine."""

    key: Sha256
    samples: Count
    stored: Count  # number of samples in the run folder
    forwards: Count
    forwards_per_s: float
    seconds: float
    disk_bytes: Count


def estimate(job: Job, backend: Backend, workers: int, out: Path, batches: int = 3) -> Estimate:
    """Time full batches and extrapolate, without writing files.

    Args:
        job: the evaluation.
        backend: an open backend with the threads and the device of one worker.
        workers: the number of workers.
        out: the run folder.
        batches: the number of timed batches.

    Raises:
        RunError: ``out`` belongs to a run with another key.
    """
    job = job.on_backend(backend.name)
    key = job.key(backend.name, backend.precision)
    stored = _stored(out, key)
    todo = sum(sample.id not in stored for sample in job.samples) if len(stored) else len(job.samples)
    rows = CLEAN_ROWS + job.stopping.most
    backend.bind(job.perturbation, slots_of(job))
    staged = Engine(job, backend).usual_rows()  # the engine warms up
    times = []
    for _ in range(batches):
        began = time.perf_counter()
        backend.submit(staged).wait()
        times.append(time.perf_counter() - began)
    rate = workers * job.execution.batch / statistics.median(times)
    maps = todo if job.save_maps is None else min(todo, job.save_maps * (len(QUADRANTS) + 1))
    forwards = todo * rows
    if job.measurement.verdict == "swap":
        drawn = min(todo, maps * len(job.heads))  # of all heads at once, where they share a quadrant
        forwards += drawn * (CLEAN_ROWS + job.of_map.stopping.most) + round(job.shuffled * todo) * rows
    return Estimate(
        key=key,
        samples=len(job.samples),
        stored=len(job.samples) - todo,
        forwards=forwards,
        forwards_per_s=rate,
        seconds=forwards / rate,
        disk_bytes=len(job.heads) * (todo * ROW_BYTES + maps * MAP * MAP * 2),
    )


def _stored(out: Path, key: str) -> IdSet:
    if not (out / "run.json").exists() and not part_files(out):
        return IdSet()
    run = read_run(out)
    if run.key != key:
        raise RunError(
            f"{out} holds a run with other settings (key {run.key[:12]}, not {key[:12]}); choose another --out"
        )
    return IdSet(ids_of(out, run))
