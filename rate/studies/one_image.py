"""The explanation of one image: its prediction, and the evidence for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend
from rate.config import Execution, Measurement
from rate.data.images.prepare import prepare
from rate.engine.engine import InProcess
from rate.engine.job import heads_of, job_of_samples
from rate.engine.prediction import Head
from rate.engine.verdict import Verdict
from rate.errors import UsageError
from rate.records import AtLeastOne, Document, Share
from rate.runs.rows import RunStats
from rate.types import Box, Float32, Sample


class ExplanationDocument(Document, frozen=True, kw_only=True, tag="rate.explanation/1"):
    """The document of `rate explain --json`; without a region there is no verdict."""

    prediction: str
    probability: Share
    explained: str  # class whose score is explained
    effect: float | None  # score on the image minus score on a blank image; null: it is not finite
    rma: dict[str, Share | None]  # evidence kind -> relevance mass; null without evidence
    rma_se: float | None
    ceiling: Share
    floor: Share
    localization: float | None
    valid: bool | None  # null: undefined
    undefined_reason: str | None
    forwards: AtLeastOne
    picture: str


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """A verdict with the pixels to which it refers."""

    verdict: Verdict
    pixels: Float32  # [3,h,w] normalised model input

    def document(self, picture: Path) -> ExplanationDocument:
        """Return its figures, with the file of its picture."""
        verdict, prediction = self.verdict, self.verdict.prediction
        return ExplanationDocument(
            prediction=prediction.name,
            probability=prediction.probability,
            explained=prediction.explained,
            effect=prediction.effect,
            rma=verdict.saliency.mass,
            rma_se=verdict.saliency.standard_error,
            ceiling=verdict.saliency.bounds.ceiling,
            floor=verdict.saliency.bounds.floor,
            localization=verdict.saliency.localization,
            valid=verdict.valid,
            undefined_reason=verdict.reason,
            forwards=verdict.forwards,
            picture=str(picture),
        )


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one image."""

    image: Path
    boxes: tuple[Box, ...] = ()  # of the object; without a region there is a map and no verdict
    mask: Path | None = None  # mask of the object, instead of boxes
    label: str | None = None  # class to explain; None = the predicted one
    head: str | None = None  # None = the only head


def explain(
    artifact: Artifact,
    backend: Backend,
    question: Question,
    measurement: Measurement,
    execution: Execution,
    tick: Callable[[int], None] = lambda forwards: None,
) -> Explanation:
    """Measure one image as in a run; the id that seeds its masks is the file's name.

    Raises:
        UsageError: the image cannot be read, or the artifact lacks the head or the class.
        ConfigError: there are too few masks to show evidence.
    """
    measurement.check_evidence()
    head = choose_head(artifact, question.head)
    if question.label is not None and question.label not in head.classes:
        known = ", ".join(head.classes[:8]) + (", ..." if len(head.classes) > 8 else "")
        raise UsageError(f"class {question.label!r} is not one of head {head.name!r}; its classes are {known}")
    sample = Sample(
        id=question.image.name,
        label=question.label or head.classes[0],
        image=str(question.image.resolve()),
        boxes=question.boxes if question.mask is None else None,
        mask=None if question.mask is None else str(question.mask.resolve()),
    )
    explained = replace(measurement, explain="label" if question.label else "prediction")
    job = job_of_samples(artifact, (sample,), explained, execution, (head,))
    stats = RunStats()
    for step in InProcess(backend).steps(job, [sample]):
        stats += step.stats
        tick(stats.forwards)
        for outcome in step.outcomes:
            if outcome.error is not None:
                raise UsageError(outcome.error)
            return Explanation(outcome.verdicts[0], prepare(sample, artifact.geometry).pixels)
    raise AssertionError("an engine gives every sample back")


def choose_head(artifact: Artifact, name: str | None) -> Head:
    """Return the head called ``name``, or the only one.

    Raises:
        UsageError: the head does not exist, or there are several and no name.
    """
    heads = {head.name: head for head in heads_of(artifact)}
    if name is None and len(heads) == 1:
        return next(iter(heads.values()))
    if name is None or name not in heads:
        asked = "name one of them with --head" if name is None else f"there is no head {name!r}"
        raise UsageError(f"the artifact has the heads {', '.join(heads)}; {asked}")
    return heads[name]
