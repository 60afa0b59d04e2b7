"""The estimated cost of a run: forwards, time and disk, from a few timed batches."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from rate.backends.base import Backend
from rate.data.digests import IdSet
from rate.engine.engine import Engine, slots_of
from rate.engine.job import Job
from rate.engine.schedule import CLEAN_ROWS
from rate.errors import RunError
from rate.kernels.saliency import Method
from rate.metrics import QUADRANTS
from rate.records import Count, Document, Sha256
from rate.runs.folder import part_files
from rate.runs.parts import ids_of
from rate.runs.rows import MAP
from rate.runs.run_document import read_run
from rate.types import Rows

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
    key = job.key(backend.name, backend.precision)
    stored = _stored(out, key)
    todo = sum(sample.id not in stored for sample in job.samples) if len(stored) else len(job.samples)
    method = job.method
    rows = CLEAN_ROWS + job.stopping.most
    slots = slots_of(job)
    backend.bind(method.perturbation, slots)
    Engine(job, backend)  # warms up
    staged = _masked(method, job.execution.batch, slots - 1)
    times = []
    for _ in range(batches):
        began = time.perf_counter()
        backend.submit(staged).wait()
        times.append(time.perf_counter() - began)
    rate = workers * job.execution.batch / statistics.median(times)
    kept = job.execution.save_maps
    maps = todo if kept is None else min(todo, kept * (len(QUADRANTS) + 1))
    return Estimate(
        key=key,
        samples=len(job.samples),
        stored=len(job.samples) - todo,
        forwards=todo * rows,
        forwards_per_s=rate,
        seconds=todo * rows / rate,
        disk_bytes=len(job.heads) * (todo * ROW_BYTES + maps * MAP * MAP * 2),
    )


def _masked(method: Method, batch: int, blank: int) -> Rows:
    """Make a batch of masks of the image in slot 0, which resembles nearly all batches of a run."""
    masks = method.draw("", 0, min(batch, method.count))
    chosen = np.resize(np.arange(len(masks)), batch)
    return Rows.under_masks(np.zeros(batch, np.int64), masks.grid[chosen], masks.offset[chosen], blank)


def _stored(out: Path, key: str) -> IdSet:
    if not (out / "run.json").exists() and not part_files(out):
        return IdSet()
    run = read_run(out)
    if run.key != key:
        raise RunError(
            f"{out} holds a run with other settings (key {run.key[:12]}, not {key[:12]}); choose another --out"
        )
    return IdSet(ids_of(out, run))
