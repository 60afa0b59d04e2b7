"""The chunks of a worker as one stream through one engine, so that a batch holds samples of the next chunk, too."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace

from rate.backends.process import one_blas_thread
from rate.engine.engine import Engine, InProcess
from rate.engine.job import Job
from rate.engine.outcome import Recorder
from rate.engine.prefetch import Prefetch
from rate.errors import OutOfMemory
from rate.runs.rows import Records, RunStats, SampleResult
from rate.types import Sample


@dataclass(slots=True, eq=False)
class _Chunk:
    run: int
    job: Job
    samples: Sequence[Sample]
    done: Future[Records] = field(default_factory=Future)
    results: list[SampleResult] = field(default_factory=list)


class _Samples(Iterator[Sample]):
    """The samples that have arrived and are not read yet; it ends, and goes on once others have arrived."""

    def __init__(self) -> None:
        self.arrived: deque[Sample] = deque()

    def __next__(self) -> Sample:
        if not self.arrived:
            raise StopIteration
        return self.arrived.popleft()


class Stream:
    """A thread that evaluates chunks as they are given; it begins those of another run when all others are done."""

    def __init__(self, runner: InProcess) -> None:
        self._runner = runner
        self._thread = threading.Thread(target=self._serve, name="rate-engine", daemon=True)
        self._given: deque[_Chunk] = deque()
        self._change = threading.Condition()  # of the chunks that are given, and of closing
        self._closing = False
        self._open: dict[str, _Chunk] = {}  # id of a sample without a result -> its chunk
        self._stats = RunStats()  # of the computation since the last chunk was done
        self._run: int | None = None
        self._stack = ExitStack()  # what belongs to the run
        self._engine: Engine
        self._samples: _Samples
        self._source: Prefetch
        self._recorder: Recorder

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End the thread after its batch, whatever is unfinished."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join()

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def submit(self, run: int, job: Job, samples: Sequence[Sample]) -> Future[Records]:
        """Evaluate samples of ``run``, whose settings are ``job``; an error ends all that are unfinished."""
        chunk = _Chunk(run, job, samples)
        with self._change:
            self._given.append(chunk)
            self._change.notify()
        return chunk.done

    def _serve(self) -> None:
        with self._stack, one_blas_thread():
            while not self._closing:
                try:
                    self._take()
                    if self._open:
                        self._step()
                except Exception as error:
                    with suppress(Exception):  # batches in flight may fail, too; whoever waits is told of the first
                        self._end_run()
                    unfinished = list({id(one): one for one in self._open.values()}.values())
                    self._open = {}
                    if isinstance(error, OutOfMemory) and self._runner.shrink(unfinished[0].job, error):
                        with self._change:
                            self._given.extendleft(unfinished[::-1])
                        continue
                    for chunk in unfinished:
                        chunk.done.set_exception(error)

    def _take(self) -> None:
        """Take the chunks of this run that were given, or of another if nothing is open; wait if nothing is to do."""
        with self._change:
            self._change.wait_for(lambda: self._given or self._open or self._closing)
            run = self._given[0].run if self._given and not self._open else self._run
            given = list(itertools.takewhile(lambda chunk: chunk.run == run, self._given))
            for _ in given:
                self._given.popleft()
        for chunk in given:
            finished = {result.id for result in chunk.results}  # of a chunk that is taken again
            self._open |= {sample.id: chunk for sample in chunk.samples if sample.id not in finished}
        for chunk in given:
            if chunk.run != self._run:
                self._end_run()
                self._begin_run(chunk)
            self._samples.arrived += (sample for sample in chunk.samples if self._open.get(sample.id) is chunk)

    def _begin_run(self, chunk: _Chunk) -> None:
        self._engine = self._runner.engine(chunk.job)
        self._stack.callback(self._engine.drain)
        self._samples = _Samples()
        self._source = self._stack.enter_context(self._engine.reading(self._samples))
        self._recorder = Recorder(tuple(head.name for head in chunk.job.heads), chunk.job.save_maps)
        self._run = chunk.run

    def _end_run(self) -> None:
        self._run = None
        self._stack.close()

    def _step(self) -> None:
        step = self._engine.step(self._source)
        assert step is not None, "there are samples without a result"
        self._stats += step.stats
        for outcome in step.outcomes:
            chunk = self._open.pop(outcome.sample.id)
            chunk.results.append(self._recorder.record(outcome))
            if len(chunk.results) == len(chunk.samples):
                stats, self._stats = self._stats, RunStats()
                chunk.done.set_result(Records(tuple(chunk.results), replace(stats, samples=len(chunk.results))))
