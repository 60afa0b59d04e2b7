"""The output of an engine: samples with their verdicts or their error, and what a run stores of them."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from rate.data.digests import fingerprint
from rate.engine.job import Job
from rate.engine.verdicts.rows import map_from_verdict, quadrant, row_from_verdict
from rate.engine.verdicts.verdict import Verdict
from rate.runs.rows import Records, RunStats, SampleResult
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


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Samples that a runner evaluates with the settings of a job."""

    job: Job
    samples: Samples


class Runner(Protocol):
    """Evaluates the samples of jobs. The choice of runner changes no verdict."""

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

    def run_each(self, following: Callable[[], Work | None]) -> Iterator[tuple[Work, Records | None]]:
        """Yield the results of one work after another, each with its work; None in their place ends a work.

        Works may overlap: ``following`` is called when something has nothing to do; None = there is no work at present.

        Raises:
            RateError: see `run`.
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
        recorder = Recorder(tuple(head.name for head in job.heads), job.save_maps)
        for step in self.steps(job, samples):
            yield Records(tuple(map(recorder.record, step.outcomes)), replace(step.stats, samples=len(step.outcomes)))

    def run_each(self, following: Callable[[], Work | None]) -> Iterator[tuple[Work, Records | None]]:
        """See `Runner`."""
        while (work := following()) is not None:
            for done in self.run(work.job, work.samples):
                yield work, done
            yield work, None


@dataclass(slots=True)
class Recorder:
    """Makes what a run stores of outcomes; in a large set most maps are excluded early."""

    heads: tuple[str, ...]
    keep_maps: int | None  # per head and quadrant; None = all
    _lowest: dict[tuple[str, str], list[int]] = field(default_factory=dict)  # heaps of minus the ranks kept so far

    def record(self, outcome: Outcome) -> SampleResult:
        """Make the rows of all heads, and the maps that the run may keep."""
        if outcome.error is not None:
            return SampleResult.of_error(outcome.sample, self.heads, outcome.error)
        maps = tuple(map_from_verdict(verdict) for verdict in outcome.verdicts if self._may_keep(verdict))
        return SampleResult(tuple(map(row_from_verdict, outcome.verdicts)), maps)

    def _may_keep(self, verdict: Verdict) -> bool:
        if verdict.map is None or not self.keep_maps:
            return verdict.map is not None and self.keep_maps is None
        lowest = self._lowest.setdefault((verdict.prediction.head, quadrant(verdict)), [])
        minus = -fingerprint(verdict.sample.id)
        if len(lowest) < self.keep_maps:
            heapq.heappush(lowest, minus)
            return True
        return heapq.heappushpop(lowest, minus) != minus
