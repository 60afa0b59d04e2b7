"""The only place that composes the stages.

source -> decode + geometry -> schedule -> [perturb in graph] -> backend -> logits -> estimator -> store -> summary
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rate.backends.base import Backend, BackendSpec, Logits, Pending
from rate.backends.process import one_blas_thread, usable_cores
from rate.data.remaining import check_planned, remaining
from rate.engine.estimator import Estimator
from rate.engine.job import Job
from rate.engine.prefetch import Prefetch
from rate.engine.schedule import CLEAN_ROWS, Plan, Scheduler, slots_for
from rate.engine.verdict import Judge, Verdict
from rate.errors import SampleError
from rate.runs.store import RunStore, Work
from rate.runs.summary import Summary, summarize, write_summary
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
CarryOut = Callable[[Job, BackendSpec, Iterable[Sample], RunStore, Observe], None]
"""Works off samples: stores every one of them, or lists the parts in which others did."""


def evaluate(
    job: Job, spec: BackendSpec, out: Path, observe: Observe = lambda _: None, carry_out: CarryOut | None = None
) -> Summary:
    """Evaluate every sample of ``job`` that ``out`` does not hold yet, and write the summary.

    Interrupted at any point, a second call goes on where the first one was.

    Args:
        job: what to evaluate.
        spec: what runs it.
        out: the run folder.
        observe: told the progress.
        carry_out: who does the work, None = this process; it changes no verdict.

    Raises:
        RunError: ``out`` belongs to other settings, or another process writes to it.
        SetChanged: the set is no longer what it was when it was first read; what is stored is right.
        BackendError: the runtime failed; what is settled is stored.
        StorageError: a result could not be written; what is stored is whole.
    """
    key, about = job.key(spec.name, spec.precision), job.about(spec.name, spec.precision)
    with RunStore(out, key, about, job.execution.save_maps, job.execution.repair) as store:
        todo = remaining(job.samples, store.done, store.started_ns)
        if (first := next(todo, None)) is not None:
            (carry_out or here)(job, spec, itertools.chain([first], todo), store, observe)
        run = store.finish(job.available)
        check_planned(len(job.samples), store.stored, out)
        summary = summarize(out, run)
        write_summary(out, summary)
    return summary


def here(
    job: Job,
    spec: BackendSpec,
    todo: Iterable[Sample],
    store: RunStore,
    observe: Observe,
    produce: Produce | None = None,
) -> None:
    """Work samples off in this process; ``produce``: what turns them into verdicts, None = `outcomes`."""
    names = [head.name for head in job.heads]
    work, errors, began = store.work, 0, time.perf_counter()

    def tick(_: Work) -> None:
        work.seconds = time.perf_counter() - began
        observe(Progress(len(store.done), work.samples, errors, work.forwards, work.seconds))

    for sample, outcome in (produce or outcomes)(job, spec, todo, work, tick):
        if isinstance(outcome, SampleError):
            store.add_error(sample, names, str(outcome))
            errors += 1
        else:
            store.add(outcome)
        work.samples += 1
        tick(work)


Outcome = tuple[Sample, "list[Verdict] | SampleError"]
Produce = Callable[[Job, BackendSpec, Iterable[Sample], Work, Callable[[Work], None]], Iterable[Outcome]]
"""Samples to verdicts, as `outcomes` does it."""


def outcomes(
    job: Job,
    spec: BackendSpec,
    todo: Iterable[Sample],
    work: Work,
    tick: Callable[[Work], None] = lambda _: None,
    decode: Callable[[Sample], Prepared] | None = None,
) -> Generator[Outcome, None, None]:
    """Every sample with its verdicts or its error, in the order in which they settle; ``tick`` after each batch.

    Samples are read from their files unless ``decode`` gets their pixels from elsewhere.
    """
    with opened(job, spec) as engine:
        yield from engine.outcomes(todo, work, tick, decode)


@contextmanager
def kept_open() -> Iterator[CarryOut]:
    """`here`, for one job after another that differ in their images alone: the model is loaded once, when needed."""
    with ExitStack() as stack:
        engines: list[Engine] = []

        def produce(
            job: Job, spec: BackendSpec, todo: Iterable[Sample], work: Work, tick: Callable[[Work], None]
        ) -> Iterable[Outcome]:
            if not engines:
                engines.append(stack.enter_context(opened(job, spec)))
            return engines[0].outcomes(todo, work, tick, job.decode)

        yield partial(here, produce=produce)


@contextmanager
def opened(job: Job, spec: BackendSpec) -> Iterator[Engine]:
    """The stages, ready to work off any samples of the job, one set of them after the other."""
    slots = slots_of(job)
    with spec.open(job.method.perturbation, slots) as backend, one_blas_thread():
        yield Engine(job, backend, slots)


def slots_of(job: Job) -> int:
    """Resident images that a job needs for full batches."""
    return slots_for(job.execution.batch, job.stopping.step, DEPTH)


class Engine:
    """The stages on an open backend."""

    def __init__(self, job: Job, backend: Backend, slots: int) -> None:
        self._job, self._slots = job, slots
        self.backend, self.batch, self._method = backend, job.execution.batch, job.method
        self.scheduler = Scheduler(self.batch, slots)
        judge = Judge(self._method, job.heads, job.measurement, self._logits_of_nothing())
        self.estimator = Estimator(judge, job.stopping)
        self.samples: dict[int, Sample] = {}  # ticket -> sample
        self.in_flight: deque[tuple[Plan, Pending]] = deque()

    def _logits_of_nothing(self) -> Logits:
        """Logits [1,c] of the fully masked image: zero in normalised pixels. Warms the backend up on the way."""
        size = self._method.perturbation.size
        self.backend.put(0, np.zeros((3, size, size), np.float32))
        return self.backend.submit(self.stage(Plan((), 1))).wait()

    def outcomes(
        self,
        todo: Iterable[Sample],
        work: Work,
        tick: Callable[[Work], None] = lambda _: None,
        decode: Callable[[Sample], Prepared] | None = None,
    ) -> Generator[Outcome, None, None]:
        """See `outcomes`."""
        read = partial(read_sample, self._job, decode or self._job.decode)
        threads = decode_threads(self._job.execution.threads)
        with Prefetch(todo, read, threads, ahead=2 * self._slots) as source:
            yield from _settle(self, source, work, tick)

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


def read_sample(job: Job, decode: Callable[[Sample], Prepared], sample: Sample) -> Prepared:
    """The pixels and region of a sample.

    Raises:
        SampleError: they cannot be read, or a head does not know the label.
    """
    for head in job.heads:
        if sample.label not in head.classes:
            raise SampleError(f"label {sample.label!r} is not a class of head {head.name!r}")
    return decode(sample)


def _settle(engine: Engine, source: Prefetch, work: Work, tick: Callable[[Work], None]) -> Iterator[Outcome]:
    """Schedule, run, fold, until the source is dry and nothing is in flight."""
    waited_s = work.waiting_s
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
        work.waiting_s = waited_s + source.waited_s
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


def decode_threads(threads: int) -> int:
    """Decoding needs a fraction of a core beside thousands of forwards an image; more would only take from them."""
    return max(1, min(4, threads or usable_cores()))
