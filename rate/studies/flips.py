"""What a precision changes in predictions and verdicts, sample by sample against f32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rate.artifacts.records import Flips
from rate.backends.base import BackendSpec
from rate.engine.engine import InProcess, slots_of
from rate.engine.job import Job
from rate.engine.verdicts.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one precision for one sample."""

    prediction: str
    valid: bool | None  # None = there is no verdict
    share: float | None  # of the score's evidence that lies on the region: by swaps, or in a map


def count_flips(head: str, pairs: Sequence[tuple[Answer | None, Answer | None]]) -> Flips:
    """Count the differences between the answers of a precision and those of f32, sample by sample.

    A missing answer counts as a prediction and a verdict that differ, if f32 has one.
    """
    asked = [(own, f32) for own, f32 in pairs if f32 is not None]
    both = [(own, f32) for own, f32 in asked if own is not None]
    lost = len(asked) - len(both)
    shares = [abs(a.share - b.share) for a, b in both if a.share is not None and b.share is not None]
    return Flips(
        head=head,
        samples=len(asked),
        predictions=lost + sum(a.prediction != b.prediction for a, b in both),
        verdicts=lost + sum(a.valid != b.valid for a, b in both),
        max_abs_share=max(shares, default=None),
    )


Answers = dict[tuple[str, str], Answer]
"""Maps the id of a sample and a head to the answer."""


def answers(job: Job, spec: BackendSpec) -> Answers:
    """Evaluate all samples of ``job`` on ``spec``; one that cannot be evaluated has no answer."""
    job = job.on_backend(spec.name)
    with spec.open(job.perturbation, slots_of(job)) as backend:
        return {
            (outcome.sample.id, verdict.prediction.head): _answer(verdict)
            for step in InProcess(backend).steps(job, job.samples)
            for outcome in step.outcomes
            for verdict in outcome.verdicts
        }


def flips_between(job: Job, own: Answers, f32: Answers) -> list[Flips]:
    """Count for each head of ``job`` the answers that differ."""
    return [
        count_flips(head.name, [(own.get(key), f32[key]) for key in f32 if key[1] == head.name]) for head in job.heads
    ]


def _answer(verdict: Verdict) -> Answer:
    share = verdict.saliency.mass["positive"] if verdict.swap is None else verdict.swap.share
    return Answer(verdict.prediction.name, verdict.valid, share)
