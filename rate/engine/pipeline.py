"""The only place that composes the stages.

source -> decode + geometry -> schedule -> [perturb in graph] -> backend -> logits -> estimator -> store -> summary
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rate.backends.base import Backend, BackendSpec, Logits, Pending
from rate.backends.cores import one_blas_thread, usable_cores
from rate.data.prepare import prepare
from rate.engine.estimator import Estimator
from rate.engine.job import Job
from rate.engine.judge import Judge, Verdict
from rate.engine.prefetch import Prefetch
from rate.engine.schedule import CLEAN_ROWS, Plan, Scheduler, slots_for
from rate.engine.store import RunStore, Work
from rate.engine.summary import Summary, summarize, write_summary
from rate.errors import SampleError
from rate.kernels.saliency import Method
from rate.types import Prepared, Rows, Sample

DEPTH = 3
"""Batches in flight that slots are provided for; no backend keeps more."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a session is."""

    stored: int  # samples that earlier sessions left
    done: int  # samples of this session that have a row
    errors: int
    forwards: int
    seconds: float


Observe = Callable[[Progress], None]


def evaluate(job: Job, spec: BackendSpec, out: Path, observe: Observe = lambda _: None) -> Summary:
    """Evaluate every sample of ``job`` that ``out`` does not hold yet, and write the summary.

    Interrupted at any point, a second call goes on where the first one was.

    Raises:
        RunError: ``out`` belongs to other settings, or another process writes to it.
        BackendError: the runtime failed; what is settled is stored.
    """
    key, about = job.key(spec.name, spec.precision), job.about(spec.name, spec.precision)
    with RunStore(out, key, about, job.execution.save_maps) as store:
        todo = [sample for sample in job.samples if sample.id not in store.done]
        if todo:
            _work_off(job, spec, todo, store, observe)
        summary = summarize(out, store.finish("complete" if len(job.samples) == job.available else "partial"))
        write_summary(out, summary)
    return summary


def _work_off(job: Job, spec: BackendSpec, todo: list[Sample], store: RunStore, observe: Observe) -> None:
    names = [head.name for head in job.heads]
    work, errors, began = store.work, 0, time.perf_counter()

    def tick(_: Work) -> None:
        work.seconds = time.perf_counter() - began
        observe(Progress(len(store.done), work.samples, errors, work.forwards, work.seconds))

    for sample, outcome in outcomes(job, spec, todo, work, tick):
        if isinstance(outcome, SampleError):
            store.add_error(sample, names, str(outcome))
            errors += 1
        else:
            store.add(outcome)
        work.samples += 1
        tick(work)


Outcome = tuple[Sample, "list[Verdict] | SampleError"]


def outcomes(
    job: Job,
    spec: BackendSpec,
    todo: list[Sample],
    work: Work,
    tick: Callable[[Work], None] = lambda _: None,
    decode: Callable[[Sample], Prepared] | None = None,
) -> Generator[Outcome, None, None]:
    """Every sample with its verdicts or its error, in the order in which they settle; ``tick`` after each batch.

    Samples are read from their files unless ``decode`` gets their pixels from elsewhere.
    """
    runnable = []
    for sample in todo:
        if (foreign := _not_a_class(job, sample)) is None:
            runnable.append(sample)
        else:
            yield sample, foreign
    if not runnable:
        return
    method = job.method
    slots = slots_of(job)
    decode = decode or partial(prepare, geometry=job.geometry)
    with (
        spec.open(method.perturbation, slots) as backend,
        Prefetch(runnable, decode, threads=_decode_threads(job.execution.threads), ahead=2 * slots) as source,
        one_blas_thread(),
    ):
        yield from _settle(Engine(job, method, backend, slots), source, work, tick)


def slots_of(job: Job) -> int:
    """Resident images that a job needs for full batches."""
    return slots_for(job.execution.batch, job.stopping.step, DEPTH)


def _not_a_class(job: Job, sample: Sample) -> SampleError | None:
    for head in job.heads:
        if sample.label not in head.classes:
            return SampleError(f"label {sample.label!r} is not a class of head {head.name!r}")
    return None


class Engine:
    """The stages on an open backend."""

    def __init__(self, job: Job, method: Method, backend: Backend, slots: int) -> None:
        self.backend, self.batch, self._method = backend, job.execution.batch, method
        self.scheduler = Scheduler(self.batch, slots)
        judge = Judge(method, job.heads, job.measurement, self._logits_of_nothing())
        self.estimator = Estimator(judge, job.stopping)
        self.samples: dict[int, Sample] = {}  # ticket -> sample
        self.in_flight: deque[tuple[Plan, Pending]] = deque()

    def _logits_of_nothing(self) -> Logits:
        """Logits [1,c] of the fully masked image: zero in normalised pixels. Warms the backend up on the way."""
        size = self._method.perturbation.size
        self.backend.put(0, np.zeros((3, size, size), np.float32))
        return self.backend.submit(self.stage(Plan((), 1))).wait()

    def rows(self, plan: Plan) -> int:
        """Rows that are computed for a batch: f32 leaves the last one short, other precisions pad it.

        Below f32 a logit may depend on the size of its batch, and which rows come last depends on the order.
        """
        return plan.filled if plan.spans and self.backend.precision == "f32" else plan.batch

    def stage(self, plan: Plan) -> Rows:
        """The bits of a batch: clean rows and padding leave the image as it is, the others are drawn."""
        perturbation = self._method.perturbation
        count = self.rows(plan)
        slot, offset = np.zeros(count, np.int64), np.zeros((count, 2), np.int64)
        grid = np.repeat(perturbation.clean[None], count, axis=0)
        at = 0
        for span in plan.spans:
            first = at + (CLEAN_ROWS if span.start == 0 else 0)
            slot[at : at + len(span)] = span.slot
            at += len(span)
            start = max(span.start - CLEAN_ROWS, 0)
            masks = self._method.draw(self.samples[span.ticket].id, start, start + at - first)
            grid[first:at], offset[first:at] = masks.grid, masks.offset
        return Rows(slot, grid, offset)


def _settle(engine: Engine, source: Prefetch, work: Work, tick: Callable[[Work], None]) -> Iterator[Outcome]:
    """Schedule, run, fold, until the source is dry and nothing is in flight."""
    while True:
        while engine.scheduler.wants_more and (item := source.next()) is not None:
            sample, prepared = item
            if isinstance(prepared, SampleError):
                yield sample, prepared
                continue
            ticket, slot = engine.scheduler.admit(engine.estimator.first_rows, engine.estimator.most_rows)
            engine.backend.put(slot, prepared.pixels)
            engine.estimator.begin(ticket, prepared)
            engine.samples[ticket] = sample
        work.waiting_s = source.waited_s
        plan = engine.scheduler.schedule()
        if plan is not None:
            engine.in_flight.append((plan, engine.backend.submit(engine.stage(plan))))
        if not engine.in_flight:
            return
        if plan is None or len(engine.in_flight) >= engine.backend.depth:
            yield from _fold_oldest(engine, work)
            tick(work)


def _fold_oldest(engine: Engine, work: Work) -> Iterator[Outcome]:
    plan, pending = engine.in_flight.popleft()
    folded = engine.estimator.fold(plan, pending.wait())
    work.forwards, work.rows = work.forwards + plan.filled, work.rows + engine.rows(plan)
    for ticket, rows in folded.wanted.items():
        engine.scheduler.want(ticket, rows)
    engine.scheduler.folded(plan, [ticket for ticket, _ in folded.settled])
    for ticket, outcome in folded.settled:
        if not isinstance(outcome, SampleError):
            work.used += max(verdict.forwards for verdict in outcome)
        yield engine.samples.pop(ticket), outcome


def _decode_threads(threads: int) -> int:
    """Decoding needs a fraction of a core beside thousands of forwards an image; more would only take from them."""
    return max(1, min(4, threads or usable_cores()))
