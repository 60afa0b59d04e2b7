"""The output of an engine: samples with their verdicts or their error, and statistics of the computation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from rate.engine.job import Job
from rate.engine.verdicts.verdict import Verdict
from rate.runs.rows import Recorder, Records, RunStats, SampleResult
from rate.types import Sample, Samples


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A finished sample."""

    sample: Sample
    verdicts: tuple[Verdict, ...] = ()  # one for each head; none if there is an error
    error: str | None = None
    shuffled: bool = False  # see `Prepared`


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The result of one batch, which may complete no sample."""

    outcomes: tuple[Outcome, ...]
    stats: RunStats


class Runner(Protocol):
    """Evaluates the samples of one job after another. The choice of runner changes no verdict."""

    @property
    def backend(self) -> str:
        """The backend that computes the logits."""

    @property
    def precision(self) -> str:
        """The precision of its arithmetic."""

    def run(self, job: Job, samples: Samples) -> Iterator[Records]:
        """Yield every sample with its verdicts or its error, in the order in which they are settled.

        Raises:
            RateError: the runtime failed, or the samples could not be read.
        """


class Explainer(ABC):
    """A `Runner` of this process that gives access to the verdicts with their maps."""

    backend: str
    precision: str

    @abstractmethod
    def steps(self, job: Job, samples: Iterable[Sample]) -> Iterator[Step]:
        """Yield steps; see `Runner.run`."""

    def run(self, job: Job, samples: Iterable[Sample]) -> Iterator[Records]:
        """See `Runner`."""
        recorder = Recorder([head.name for head in job.heads], job.save_maps)

        def record(outcome: Outcome) -> SampleResult:
            if outcome.error is not None:
                return recorder.of_error(outcome.sample, outcome.error)
            return recorder.of_verdicts(outcome.verdicts)

        for step in self.steps(job, samples):
            yield Records(tuple(map(record, step.outcomes)), replace(step.stats, samples=len(step.outcomes)))
