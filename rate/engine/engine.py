"""The engine admits samples, schedules a batch, submits it, and folds the oldest one.

decode + geometry -> schedule -> [perturb in graph] -> backend -> logits -> estimator -> verdicts
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np

from rate.backends.base import Asked, Backend, Pending
from rate.backends.batches import clean_rows
from rate.backends.process import one_blas_thread, usable_cores
from rate.engine.choose_backend import Say
from rate.engine.job import Job
from rate.engine.outcome import Explainer, Outcome, Step
from rate.engine.prefetch import Prefetch
from rate.engine.ranges import profiled
from rate.engine.schedule import CLEAN_ROWS, BatchPlan, Scheduler, slots_for
from rate.engine.verdicts.estimator import Estimator
from rate.engine.verdicts.fills import Fills, blank, fills_key, load_fills, own_mean
from rate.engine.verdicts.map_verdict import MapInstrument
from rate.engine.verdicts.prediction import Reader
from rate.engine.verdicts.shuffle import Shuffle
from rate.engine.verdicts.swap_verdict import SwapInstrument
from rate.engine.verdicts.verdict import Instrument
from rate.errors import OutOfMemory, RateError
from rate.kernels.separable import Perturbation
from rate.runs.rows import RunStats
from rate.types import Prepared, Rows, Sample

DEPTH = 3
"""The largest number of batches in flight; slots are provided for it."""

SMALLER = 4
"""The divisor of a batch that has no room on the device."""


def slots_of(job: Job) -> int:
    """Return the number of slots that a job needs: for full batches of images, for fills, and for what stands beside an
    image, which is its own mean colour, or itself with the region that is taken from its rest.
    """
    images = image_slots(job)
    beside = job.measurement.fill == "own" or (job.ignoring and job.measurement.verdict == "swap")
    return images + job.fills + (images if beside else 0)


def image_slots(job: Job) -> int:
    """Return the number of image slots that a job needs for full batches."""
    return slots_for(job.execution.batch, job.stopping.step, DEPTH)


class Engine:
    """The stages of one job on an open backend that is bound to its masks and has `slots_of` slots."""

    def __init__(self, job: Job, backend: Backend, first_slot: int = 0, fills: Fills | None = None) -> None:
        """Take the slots from ``first_slot`` on, where engines share them; ``fills`` of None are loaded."""
        self._job, self._backend, self._first_slot = job, backend, first_slot
        self._images = image_slots(job)
        self._beside = self._images + job.fills  # number of slots from an image to what stands beside it
        # Below f32 a logit may depend on the size of its batch, and the rows of the last batch depend on the order.
        padded = backend.precision != "f32"
        self._scheduler = Scheduler(job.execution.batch, self._images, first_slot, padded)
        self.fills = load_fills(job, backend, first_slot + self._images) if fills is None else fills
        reader = Reader(job.heads, job.measurement, self.fills.logits)
        self._instrument: Instrument = (
            SwapInstrument(job, reader, self.fills, self._beside)
            if job.measurement.verdict == "swap"
            else MapInstrument(job, reader, self.fills, self._beside)
        )
        self._estimator = Estimator(reader, job.stopping)
        self._shuffle = Shuffle(job.bank, job.shuffled, self.fills)
        self._in_flight: deque[tuple[BatchPlan, Pending]] = deque()

    def reading(self, samples: Iterable[Sample], read: Callable[[Sample], Prepared] | None = None) -> Prefetch:
        """Read the samples ahead of the device; ``read`` is the source of their pixels instead of their files."""
        execution = self._job.execution
        threads = decode_threads(execution.threads)
        return Prefetch(
            samples, partial(self._read, read or self._job.read), threads, ahead=2 * self._images, io=execution.io
        )

    def _read(self, read: Callable[[Sample], Prepared], sample: Sample) -> Prepared:
        """Read a sample, whose question is first read by the model.

        Raises:
            SampleError: neither can be read.
        """
        if sample.question is not None and isinstance(self._backend, Asked):
            self._backend.prompt(sample.question)
        return read(sample)

    def step(self, source: Prefetch) -> Step | None:
        """Admit, schedule, submit, fold; return None when the source is exhausted and nothing is in flight.

        A sample that cannot be read is a separate step.
        """
        waited_s = source.waited_s
        with profiled("admit"):
            failed = self._admit(source)
        waiting = RunStats(waiting_s=source.waited_s - waited_s)
        if failed is not None:
            return Step((failed,), waiting)
        plan = self._scheduler.schedule()
        if plan is not None:
            with profiled("stage"):
                rows = self._stage(plan)
            with profiled("submit"):
                self._in_flight.append((plan, self._backend.submit(rows)))
        if not self._in_flight:
            return None
        if plan is not None and len(self._in_flight) < self._backend.depth:
            return Step((), waiting)
        return self._fold(waiting)

    def pause(self) -> Iterator[Step]:
        """Fold the batches in flight without submitting others; the device is idle afterwards, and `step` goes on."""
        while self._in_flight:
            yield self._fold(RunStats())

    def drain(self) -> None:
        """Wait for all batches on the backend and drop them, since it may continue with another job."""
        while self._in_flight:
            with suppress(RateError):  # the first error is being raised
                self._in_flight.popleft()[1].wait()

    def _admit(self, source: Prefetch) -> Outcome | None:
        """Admit samples until the next batch is full; return the first one that cannot be read."""
        while self._scheduler.wants_more and (prepared := self._shuffle.next(source)) is not None:
            if isinstance(prepared, Outcome):
                return prepared
            ticket, slot = self._scheduler.admit(self._estimator.first_rows, self._estimator.most_rows)
            cuts = self._instrument.cuts(prepared)
            for place in (slot, slot + self._beside)[: max(len(cuts), 1)]:
                self._ask(place, prepared.sample)
            self._backend.put(slot, prepared.picture, cuts[0] if cuts else None)
            if self._job.measurement.fill == "own":
                self._backend.put(slot + self._beside, own_mean(prepared.picture))
            for cut in cuts[1:]:
                self._backend.put(slot + self._beside, prepared.picture, cut)
            self._estimator.begin(ticket, self._instrument.begin(prepared, slot, cuts))
        return None

    def _ask(self, slot: int, sample: Sample) -> None:
        """Let the rows of a slot ask the question of a sample, if the model reads one."""
        if sample.question is not None and isinstance(self._backend, Asked):
            self._backend.ask(slot, self._backend.prompt(sample.question))

    def _fold(self, waiting: RunStats) -> Step:
        """Wait for the oldest batch, and collect the verdicts that are settled after it."""
        plan, pending = self._in_flight.popleft()
        with profiled("wait"):
            logits = pending.wait()
        with profiled("fold"):
            settled, wanted = self._estimator.fold(plan, logits)
        for ticket, rows in wanted.items():
            self._scheduler.want(ticket, rows)
        self._scheduler.folded(plan, settled)
        outcomes = tuple(self._shuffle.joined(settled.values()))
        used = sum(max(verdict.forwards for verdict in one.verdicts) for one in outcomes if one.verdicts)
        stats = RunStats(forwards=plan.filled, used=used, rows=plan.batch, idle_s=pending.idle_s)
        return Step(outcomes, waiting + stats)

    def _stage(self, plan: BatchPlan) -> Rows:
        """Make the rows of a batch: clean rows and padding use the clean grid, the others perturb."""
        padding = np.full(plan.batch, self._first_slot, np.int64)
        rows, at = clean_rows(self._job.perturbation, padding), 0
        for span in plan.spans:
            clean = CLEAN_ROWS if span.start == 0 else 0
            rows.slot[at : at + clean] = rows.fill[at : at + clean] = span.slot
            perturbed = self._estimator.sample(span.ticket).rows(
                span.start + clean - CLEAN_ROWS, span.stop - CLEAN_ROWS
            )
            rows[slice(at + clean, at + len(span))] = perturbed
            at += len(span)
        return rows

    def usual_rows(self) -> Rows:
        """Make a batch of perturbed rows of one image, which resembles nearly all batches of a run."""
        count = min(self._job.execution.batch, self._job.stopping.most)
        rows = self._instrument.begin(blank(self._job.geometry.size), self._first_slot, ()).rows(0, count)
        return rows[np.resize(np.arange(count), self._job.execution.batch)]


class InProcess(Explainer):
    """A runner on an open backend of this process.

    Where the device has no room for a batch, a quarter of it is tried, once, and kept for all jobs that follow.
    """

    def __init__(self, backend: Backend, say: Say = lambda _: None) -> None:
        self.backend, self.precision, self._opened, self._say = backend.name, backend.precision, backend, say
        self._bound: tuple[Perturbation | None, int] = None, 0
        self._fills: Fills | None = None
        self._most: int | None = None  # rows of a batch that the device has room for, once a larger one had none

    def steps(self, job: Job, samples: Iterable[Sample]) -> Iterator[Step]:
        """See `Explainer`."""
        unfinished = Unfinished(samples)
        try:
            yield from map(unfinished.seen, self._steps(job, unfinished))
            return
        except OutOfMemory as error:
            if not self.shrink(job, error):
                raise
        # Outside of the handler, whose exception holds on to the memory of the engine that failed.
        yield from self._steps(job, unfinished.again())

    def shrink(self, job: Job, error: OutOfMemory) -> bool:
        """Give the engines that follow smaller batches, and say so; False if that was done before, or cannot be."""
        batch = self._fitting(job).execution.batch
        if self._most is not None or batch < SMALLER:
            return False
        self._most, self._bound, self._fills = batch // SMALLER, (None, 0), None
        self._say(f"no room for a batch of {batch} rows, so {self._most} from here on ({error})")
        return True

    def _fitting(self, job: Job) -> Job:
        job = job.on_backend(self.backend)
        most = job.execution.batch if self._most is None else min(job.execution.batch, self._most)
        return replace(job, execution=replace(job.execution, batch=most))

    def _steps(self, job: Job, samples: Iterable[Sample]) -> Iterator[Step]:
        rest = iter(samples)
        if (first := next(rest, None)) is None:
            return
        engine = self.engine(job)
        with engine.reading(chain([first], rest)) as source, one_blas_thread():
            try:
                while (step := engine.step(source)) is not None:
                    yield step
            finally:
                engine.drain()

    def engine(self, job: Job) -> Engine:
        """Make an engine for a job once the one before is drained; the fills of equal jobs are kept."""
        job = self._fitting(job)
        self._bind(job.perturbation, slots_of(job))
        if self._fills is not None and self._fills.key != fills_key(job, image_slots(job)):
            self._fills = None
        engine = Engine(job, self._opened, fills=self._fills)
        self._fills = engine.fills
        return engine

    def _bind(self, perturbation: Perturbation, slots: int) -> None:
        """Bind the backend, which may take seconds, unless it is already; equal settings share one perturbation."""
        if self._bound[0] is not perturbation or self._bound[1] != slots:
            self._opened.bind(perturbation, slots)
            self._bound, self._fills = (perturbation, slots), None


class Unfinished:
    """Samples on their way through an engine; those that it has taken and not yet returned can be taken again."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._rest = iter(samples)
        self._taken: dict[str, Sample] = {}

    def __iter__(self) -> Iterator[Sample]:
        for sample in self._rest:
            self._taken[sample.id] = sample
            yield sample

    def seen(self, step: Step) -> Step:
        """Return ``step``, whose samples are finished."""
        for outcome in step.outcomes:
            del self._taken[outcome.sample.id]
        return step

    def again(self) -> Iterator[Sample]:
        """Return the samples without an outcome, those that were taken first."""
        return chain(self._taken.values(), self._rest)


def decode_threads(threads: int) -> int:
    """Choose the number of decoding threads: decoding takes a fraction of a core beside thousands of forwards per
    image.
    """
    return max(1, min(4, threads or usable_cores()))
