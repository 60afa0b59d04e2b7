"""One evaluation: the samples that the run folder lacks go through a runner and into the folder.

Where swaps decide, the maps of saved samples are drawn afterwards; they show without deciding.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rate.data.remaining import Remaining, check_planned
from rate.engine.job import Job
from rate.engine.outcome import Runner, Work
from rate.errors import TooManyErrors
from rate.runs.failures import FailureCounts
from rate.runs.maps import DrawnMaps
from rate.runs.parts import PART_ROWS
from rate.runs.rows import Records
from rate.runs.sort_parts import SORTED_ROWS
from rate.runs.store import RunStore
from rate.runs.summary.summarise import Summary, summarize, write_summary


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a session: of its rows, then of the maps that are drawn beside them."""

    stored: int  # number of samples of earlier sessions
    done: int  # number of samples of this session that have a row
    errors: int  # number of failed samples among those
    forwards: int
    seconds: float
    drawing: Drawing | None = None  # None: the rows are not complete, or no map is drawn


Observe = Callable[[Progress], None]


Evaluation = Generator[Work, Records | None, Summary]
"""An evaluation in steps: it yields a work until that is done, and is sent each of its results, then None."""


def evaluate(
    job: Job,
    runner: Runner,
    out: Path,
    observe: Observe = lambda _: None,
    part_rows: int = PART_ROWS,
    sorted_rows: int = SORTED_ROWS,
) -> Summary:
    """Evaluate every sample of ``job`` that ``out`` does not hold yet, and write the summary.

    Where swaps decide, maps of some samples are then drawn as pictures; the rows and the summary are complete before.
    After an interruption at any point, a second call resumes.

    Args:
        job: the evaluation.
        runner: the runner; see `rate.engine.open_runner`.
        out: the run folder.
        observe: receives the progress.
        part_rows: the rows at which a part of the run is closed.
        sorted_rows: the mean number of rows of a part of the finished run.

    Raises:
        RunError: ``out`` belongs to other settings, or another process writes to it.
        TooManyErrors: more samples of the run have failed than ``max_errors`` allows; finished samples are stored.
        SetChanged: the set has changed since it was first read; the stored results are right.
        BackendError: the runtime failed; finished samples are stored.
        StorageError: a result could not be written; stored parts are whole.
    """
    [summary] = evaluate_each([evaluation(job, runner, out, observe, part_rows, sorted_rows)], runner)
    return summary


def evaluate_each(evaluations: Iterable[Evaluation], runner: Runner) -> list[Summary]:
    """Carry out several evaluations with the workers of one runner, which go from one to the next without a pause.

    First come the rows of all, then the maps that are drawn beside them: a device is prepared once for either.

    Raises:
        RateError: see `evaluate`; what is done of every evaluation is stored.
    """
    coming, later = iter(evaluations), deque[Work]()
    begun: dict[Work, Evaluation] = {}
    summaries: list[Summary] = []

    def step(one: Evaluation, done: Records | None) -> Work | None:
        try:
            work = one.send(done)
        except StopIteration as stop:
            summaries.append(stop.value)
            return None
        begun[work] = one
        return work

    def following() -> Work | None:
        for one in coming:
            return step(one, None)
        return later.popleft() if later else None

    try:
        for work, done in runner.run_each(following):
            if done is not None:
                begun[work].send(done)
            elif (following_work := step(begun.pop(work), None)) is not None:
                later.append(following_work)
    except BaseException as error:
        for one in begun.values():
            with suppress(BaseException):  # the first error is told
                one.throw(error)
        raise
    return summaries


def evaluation(
    job: Job,
    runner: Runner,
    out: Path,
    observe: Observe = lambda _: None,
    part_rows: int = PART_ROWS,
    sorted_rows: int = SORTED_ROWS,
) -> Evaluation:
    """Prepare an evaluation; see `evaluate`."""
    job = job.on_backend(runner.backend)
    key, about = job.key(runner.backend, runner.precision), job.about(runner.backend, runner.precision)
    kept = 0 if job.measurement.verdict == "swap" else job.save_maps
    with RunStore(
        out, key, about, kept, job.execution.repair, part_rows, sorted_rows=sorted_rows, samples=job.samples
    ) as store:
        began, errors = time.monotonic(), Errors(job, out, store.failed)
        progress = Progress(len(store.done), 0, 0, 0, 0.0)
        left = Remaining(job.samples, store.done, store.started_ns)
        if len(left):
            errors.check()
        work = Work(job, left)
        while (done := (yield work)) is not None:
            store.add(done, time.monotonic() - began)
            errors.count(done)
            stats = store.stats
            progress = Progress(len(store.done), stats.samples, errors.new, stats.forwards, stats.seconds)
            observe(progress)
            errors.check()
        run = store.finish(job.available)
        check_planned(len(job.samples), store.stored, out)
        summary = summarize(out, run)
        write_summary(out, summary)
        errors.check()  # a run that has all samples keeps its status
        if job.measurement.verdict == "swap":
            with store.drawn_maps(job.save_maps) as maps:
                drawing = yield from draw_maps(job, maps, lambda drawing: observe(replace(progress, drawing=drawing)))
            summary = replace(summary, notices=drawing.notices)
    return summary


class Errors:
    """Counts failed samples with their reasons, and ends the run when there are too many."""

    def __init__(self, job: Job, out: Path, stored: int) -> None:
        """Count on from ``stored`` samples that failed in earlier sessions of the run in ``out``."""
        self._stored, self._out, self._max = stored, out, job.execution.max_errors
        self._samples, self._allowed = len(job.samples), job.execution.errors_allowed(len(job.samples))
        self.new = 0  # number of failed samples of this session
        self._failures = FailureCounts()

    def count(self, done: Records) -> None:
        """Count the failed samples among finished ones."""
        for record in done.records:
            if record.error is not None:
                self.new += 1
                self._failures.take(record.id, record.error)

    def check(self) -> None:
        """Refuse to continue after too many failures.

        Raises:
            TooManyErrors: more samples failed than are allowed.
        """
        if (failed := self._stored + self.new) <= self._allowed:
            return
        commonest = self._failures.commonest()
        told = [f"{one.count} x {one.reason}, as sample {one.example!r}: {one.message}" for one in commonest]
        if self._stored:
            told.append(f"{self._stored} from earlier sessions")
        raise TooManyErrors(
            f"{failed} of {self._samples} samples failed, {self._allowed} are allowed (--max-errors {self._max:g}): "
            f"{'; '.join(told)}. What is done is in {self._out}; mend the samples and add --repair, or allow more"
        )


@dataclass(frozen=True, slots=True)
class Drawing:
    """The progress of the drawing of maps."""

    samples: int  # number of samples whose maps are drawn in this session
    done: int = 0
    failed: int = 0  # number of those that could not be drawn
    why: str = ""  # the first reason

    @property
    def notices(self) -> tuple[str, ...]:
        """What is to be said of samples that could not be drawn."""
        return (f"{self.failed} of {self.samples} images have no map, such as: {self.why}",) if self.failed else ()


def draw_maps(
    job: Job, maps: DrawnMaps, observe: Callable[[Drawing], None]
) -> Generator[Work, Records | None, Drawing]:
    """Draw the wanted maps that a finished run of ``job`` lacks; a sample that cannot be drawn stays without.

    Args:
        job: the job of the run.
        maps: the maps of the run.
        observe: receives the progress.

    Raises:
        BackendError: the runtime failed; the maps so far are kept.
        StorageError: the maps could not be written.
    """
    if not (missing := maps.missing()):
        return Drawing(0)
    chosen = tuple(sample for sample in job.samples if sample.id in missing)
    drawing = Drawing(len(chosen))
    observe(drawing)
    work = Work(job.of_map, chosen)
    while (done := (yield work)) is not None:
        maps.add(saved for one in done.records for saved in one.maps)
        errors = [one.error for one in done.records if one.error is not None]
        drawing = replace(
            drawing,
            done=drawing.done + len(done.records),
            failed=drawing.failed + len(errors),
            why=drawing.why or next(iter(errors), ""),
        )
        observe(drawing)
    return drawing
