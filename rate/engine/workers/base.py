"""What works for a run beside the process that owns it: an open backend that turns chunks of samples into parts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rate.backends.base import BackendSpec
from rate.engine.job import Job
from rate.engine.pipeline import Engine, opened
from rate.errors import SampleError
from rate.runs.parts import PartWriter
from rate.runs.store import Work
from rate.types import Json, Sample


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that a worker is told before its first chunk."""

    job: Job  # without its samples
    spec: BackendSpec
    folder: Path  # of the run: every worker writes its parts there
    key: str  # of the run


@dataclass(frozen=True, slots=True)
class Finished:
    """A chunk whose part is written, and not listed yet."""

    part: Json | None  # for run.json
    work: Work
    errors: int


class Worker:
    """Evaluates chunks. Use as a context manager: entering it opens the backend."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._stack = ExitStack()
        self._engine: Engine | None = None

    def __enter__(self) -> Worker:
        """Open the backend.

        Raises:
            BackendError: the runtime cannot load the graph.
        """
        self._engine = self._stack.enter_context(opened(self._assignment.job, self._assignment.spec))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def evaluate(self, samples: Sequence[Sample]) -> Finished:
        """Evaluate a chunk and write its part.

        Raises:
            BackendError: the runtime failed.
            StorageError: the part could not be written.
        """
        assert self._engine is not None, "a worker is used as a context manager"
        job = self._assignment.job
        names = [head.name for head in job.heads]
        writer = PartWriter(self._assignment.folder, self._assignment.key, job.execution.save_maps)
        work, errors = Work(), 0
        for sample, outcome in self._engine.outcomes(samples, work):
            if isinstance(outcome, SampleError):
                writer.add_error(sample, names, str(outcome))
                errors += 1
            else:
                writer.add(outcome)
            work.samples += 1
        return Finished(writer.write(), work, errors)
