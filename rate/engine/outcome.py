"""What comes out of an engine: samples with their verdicts or their error, and what was computed for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from rate.engine.job import Job
from rate.engine.verdict import Verdict
from rate.runs.records import Record, Recorder, Records, RunStats
from rate.types import Sample, Samples


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A sample that is done."""

    sample: Sample
    verdicts: tuple[Verdict, ...] = ()  # one a head; none where there is an error
    error: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one batch has led to; no sample needs to be done after it."""

    outcomes: tuple[Outcome, ...]
    stats: RunStats


class Runner(Protocol):
    """Works off the samples of one job after another. Which runner does so changes no verdict."""

    @property
    def backend(self) -> str:
        """That computes the logits."""

    @property
    def precision(self) -> str:
        """Of its arithmetic."""

    def run(self, job: Job, samples: Samples) -> Iterator[Records]:
        """Every sample with its verdicts or its error, in the order in which they settle.

        Raises:
            RateError: the runtime failed, or the samples could not be read.
        """


class Explainer(Runner, Protocol):
    """A runner of this process, which has the verdicts themselves, with their maps."""

    def steps(self, job: Job, samples: Iterable[Sample]) -> Iterator[Step]:
        """As `Runner.run`."""


def records(job: Job, steps: Iterable[Step]) -> Iterator[Records]:
    """The outcomes of a job as a run stores them."""
    recorder = Recorder([head.name for head in job.heads], job.execution.save_maps)

    def record(outcome: Outcome) -> Record:
        if outcome.error is not None:
            return recorder.of_error(outcome.sample, outcome.error)
        return recorder.of_verdicts(outcome.verdicts)

    for step in steps:
        yield Records(tuple(map(record, step.outcomes)), replace(step.stats, samples=len(step.outcomes)))
