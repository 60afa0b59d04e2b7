"""The estimated cost of a run: forwards, time and disk, from a few timed batches."""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from rate.backends.base import Asked, Backend
from rate.data.digests import IdSet
from rate.engine.engine import Engine, image_slots, slots_of
from rate.engine.job import Job
from rate.engine.schedule import CLEAN_ROWS
from rate.errors import RunError
from rate.records import Count, Document, Sha256
from rate.runs.folder import part_files
from rate.runs.parts import ids_of
from rate.runs.rows import MAP
from rate.runs.run_document import differing, read_run
from rate.statistics.metrics import QUADRANTS

ROW_BYTES = 900
"""The stored bytes of a row with its sketches, before compression."""


_TRIED = 12
"""The number of samples that show what is typical."""


class Estimate(Document, frozen=True, tag="rate.estimate/2"):
    """The remaining work and its estimated cost on this machine."""

    key: Sha256
    samples: Count
    stored: Count  # number of samples in the run folder
    forwards: Count  # at most
    typical_forwards: Annotated[
        Count | None, Meta(description="as a few samples took; null: every sample takes as many, or none could be read")
    ]
    forwards_per_s: float
    seconds: float  # of the most forwards
    typical_seconds: float | None
    disk_bytes: Count
    tokens_per_forward: float | None = None  # of a generative model: mean over the first questions


def estimate(job: Job, backend: Backend, workers: int, out: Path, batches: int = 3) -> Estimate:
    """Time full batches and extrapolate, without writing files; where verdicts stop early, evaluate a few samples, too.

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
    stored = _stored(out, key, job, backend)
    todo = sum(sample.id not in stored for sample in job.samples) if len(stored) else len(job.samples)
    rows = CLEAN_ROWS + job.stopping.most
    backend.bind(job.perturbation, slots_of(job))
    engine = Engine(job, backend)
    staged = engine.usual_rows()  # the engine warms up
    tokens = None
    if isinstance(backend, Asked):
        first = itertools.islice(job.samples, image_slots(job))
        prompts = [backend.prompt(one.question) for one in first if one.question]
        tokens = statistics.mean(len(prompt.ids) for prompt in prompts)
        for slot, prompt in enumerate(prompts):
            backend.ask(slot, prompt)
        staged = replace(staged, slot=np.arange(len(staged)) % len(prompts))
    times = []
    for _ in range(batches):
        began = time.perf_counter()
        backend.submit(staged).wait()
        times.append(time.perf_counter() - began)
    rate = workers * job.execution.batch / statistics.median(times)
    maps = todo if job.save_maps is None else min(todo, job.save_maps * (len(QUADRANTS) + 1))
    drawn = 0
    if job.measurement.verdict == "swap":
        of_heads = min(todo, maps * len(job.heads))  # of all heads at once, where they share a quadrant
        drawn = of_heads * (CLEAN_ROWS + job.of_map.stopping.most)
    times_each = 1 + (job.shuffled if job.measurement.verdict == "swap" else 0)
    forwards, usual = round(times_each * todo) * rows + drawn, _usual(engine, job) if todo else None
    typical = None if usual is None else round(times_each * todo * usual) + drawn
    return Estimate(
        key=key,
        samples=len(job.samples),
        stored=len(job.samples) - todo,
        forwards=forwards,
        typical_forwards=typical,
        forwards_per_s=rate,
        seconds=forwards / rate,
        typical_seconds=None if typical is None else typical / rate,
        disk_bytes=len(job.heads) * (todo * ROW_BYTES + maps * MAP * MAP * 2),
        tokens_per_forward=tokens,
    )


def _usual(engine: Engine, job: Job) -> float | None:
    """Evaluate a few samples from all over the set; return their mean forwards, if verdicts may stop early."""
    if job.stopping.boundary is None:
        return None
    every = max(1, len(job.samples) // _TRIED)
    took: list[int] = []
    with engine.reading(itertools.islice(job.samples, 0, every * _TRIED, every)) as source:
        while (step := engine.step(source)) is not None:
            took += [max(one.forwards for one in outcome.verdicts) for outcome in step.outcomes if outcome.verdicts]
    return statistics.mean(took) if took else None


def _stored(out: Path, key: str, job: Job, backend: Backend) -> IdSet:
    if not (out / "run.json").exists() and not part_files(out):
        return IdSet()
    run = read_run(out)
    if run.key != key:
        what = differing(run, job.settings, job.identity(backend.name, backend.precision), ("there", "now"))
        raise RunError(f"{out} holds a run with other settings ({what}); choose another --out")
    return IdSet(ids_of(out, run))
