"""The conversion of logits to predictions and of scores to verdicts, without state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rate.backends.base import Logits
from rate.config import Measurement
from rate.engine.schedule import CLEAN_ROWS
from rate.kernels.saliency import Bounds, Method, evidence
from rate.metrics import is_valid, localization, relevance_mass, threshold, undefined_reason
from rate.types import Bool, Float64, Prepared, Sample

EVIDENCE_KINDS = ("positive", "minmax", "raw")


@dataclass(frozen=True, slots=True)
class Head:
    """A classifier on the shared tower."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A head's prediction for the unmasked image, and the score's difference to that of a blank image."""

    head: str
    name: str  # predicted class
    probability: float
    correct: bool
    explained: str  # class whose score is explained
    score: float  # of the explained class on the unmasked image
    effect: float | None  # score on the unmasked image minus score on a blank image; None if that is not finite


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """The verdict on one head's prediction of one sample, with its evidence."""

    sample: Sample
    prediction: Prediction
    mass: dict[str, float | None]  # evidence kind -> relevance mass; None without evidence
    standard_error: float | None  # of the mass of the positive evidence
    bounds: Bounds
    area: float  # share of the image inside the region
    localization: float | None  # of the positive evidence
    reason: str | None  # why there is no verdict; None if there is one
    valid: dict[str, bool | None]  # rule -> valid; "run" is the run's own rule; None if undefined
    forwards: int  # clean row included
    settled: str  # fixed: after a given number of masks | decided: it was clear | capped: it never became clear
    evidence: Float64  # [h,w] of the run's evidence kind
    region: Bool  # [h,w]


class Reader:
    """The predictions and scores of every head."""

    def __init__(self, heads: tuple[Head, ...], measurement: Measurement, nothing: Logits) -> None:
        """Take the logits [1,c] of a blank image, ``nothing``."""
        self.heads = heads
        self._measurement = measurement
        self._nothing = {name: values[0].astype(np.float64) for name, values in nothing.items()}
        self._column = {head.name: {name: i for i, name in enumerate(head.classes)} for head in heads}

    def predictions(self, sample: Sample, clean: dict[str, Float64]) -> tuple[Prediction, ...]:
        """Compute one prediction for each head from the unmasked image's logits [c]."""
        return tuple(self._prediction(head, sample, clean[head.name]) for head in self.heads)

    def _prediction(self, head: Head, sample: Sample, logits: Float64) -> Prediction:
        best = int(np.argmax(logits))
        label = self._column[head.name][sample.label]
        explained = label if self._measurement.explain == "label" else best
        clean, nothing = (float(self._score(values, explained)) for values in (logits, self._nothing[head.name]))
        return Prediction(
            head=head.name,
            name=head.classes[best],
            probability=float(softmax(logits)[best]),
            correct=best == label,
            explained=head.classes[explained],
            score=clean,
            effect=clean - nothing if np.isfinite(nothing) else None,
        )

    def column(self, prediction: Prediction) -> int:
        """Return the index of the explained class in the logits of its head."""
        return self._column[prediction.head][prediction.explained]

    def scores(self, predictions: tuple[Prediction, ...], logits: dict[str, np.ndarray]) -> Float64:
        """Compute scores [k,n] of each head's explained class from its logits [n,c]."""
        return np.stack([self._score(logits[p.head].astype(np.float64), self.column(p)) for p in predictions])

    def _score(self, logits: Float64, column: int) -> Float64:
        chosen = logits if self._measurement.score == "logit" else softmax(logits)
        return np.asarray(chosen[..., column])


class Judge(Reader):
    """The predictions and scores of every head, and the evidence in the scores."""

    def __init__(self, method: Method, heads: tuple[Head, ...], measurement: Measurement, nothing: Logits) -> None:
        super().__init__(heads, measurement, nothing)
        self._method = method

    def sample_evidence(
        self, prepared: Prepared, predictions: tuple[Prediction, ...], scores: Float64
    ) -> SampleEvidence:
        """Compute the evidence in the scores [k,n] of a sample's first n masks, for the head of each prediction."""
        return SampleEvidence(self._method, self._measurement, prepared, predictions, scores)


class SampleEvidence:
    """The evidence of one sample after some of its masks, for k heads."""

    def __init__(
        self,
        method: Method,
        measurement: Measurement,
        prepared: Prepared,
        predictions: tuple[Prediction, ...],
        scores: Float64,
    ) -> None:
        self._method, self._measurement = method, measurement
        self._prepared, self._predictions, self._scores = prepared, predictions, scores
        self._masks = method.draw(prepared.sample.id, 0, scores.shape[1])
        self._maps = method.maps(np.array([p.score for p in predictions]), scores, self._masks)
        self._above_noise = method.above_noise(scores, self._masks, self._maps)
        self._bounds = stored_bounds(method.bounds(prepared.region))
        self._area = float(prepared.region.mean())

    @cached_property
    def clearance(self) -> list[float | None]:
        """The signed standard errors between each head's evidence and its threshold.

        It is 0 for a map that is not above its own noise, and None if no further mask can make a verdict defined.
        """
        ceiling, floor = self._bounds.ceiling, self._bounds.floor
        if undefined_reason(self._area, 0.0, ceiling, floor, above_noise=True) is not None:
            return [None] * len(self._predictions)
        needed = threshold(ceiling, floor, self._measurement.valid, self._measurement.tau)
        distances = self._method.clearance(self._scores, self._masks, self._maps, self._prepared.region, needed)
        return [float(value) for value in np.where(self._above_noise, distances, 0.0)]

    @cached_property
    def _errors(self) -> Float64 | None:
        return self._method.standard_error(self._scores, self._masks, self._maps, self._prepared.region)

    @cached_property
    def _evidence(self) -> dict[str, Float64]:
        return {kind: evidence(self._maps, kind) for kind in EVIDENCE_KINDS}

    def verdict(self, k: int, settled: str) -> Verdict:
        """Return the current verdict of head ``k``."""
        head_evidence = HeadEvidence(
            evidence={kind: maps[k] for kind, maps in self._evidence.items()},
            bounds=self._bounds,
            forwards=CLEAN_ROWS + self._scores.shape[1],
            settled=settled,
            above_noise=bool(self._above_noise[k]),
            standard_error=None if self._errors is None else float(self._errors[k]),
        )
        return verdict_on(head_evidence, self._prepared, self._predictions[k], self._measurement)


@dataclass(frozen=True, slots=True, eq=False)
class HeadEvidence:
    """The evidence of one head on one sample, from any explainer."""

    evidence: dict[str, Float64]  # kind -> [h,w], see `EVIDENCE_KINDS`
    bounds: Bounds  # in the stored precision; see `stored_bounds`
    forwards: int
    settled: str
    above_noise: bool = True
    standard_error: float | None = None


def verdict_on(
    head_evidence: HeadEvidence, prepared: Prepared, prediction: Prediction, measurement: Measurement
) -> Verdict:
    """Judge the evidence under the rule of ``measurement``, and under the other rules."""
    region, area, bounds = prepared.region, float(prepared.region.mean()), head_evidence.bounds
    mass = {kind: _stored(relevance_mass(one, region)) for kind, one in head_evidence.evidence.items()}
    own, positive = mass[measurement.evidence], mass["positive"]
    reason = undefined_reason(area, own, bounds.ceiling, bounds.floor, head_evidence.above_noise)

    def judged(value: float | None, rule: str) -> bool | None:
        return None if reason or value is None else is_valid(value, bounds.ceiling, bounds.floor, rule, measurement.tau)

    return Verdict(
        sample=prepared.sample,
        prediction=prediction,
        mass=mass,
        standard_error=head_evidence.standard_error,
        bounds=bounds,
        area=area,
        localization=None if positive is None else localization(positive, bounds.ceiling, bounds.floor),
        reason=reason,
        valid={
            "run": judged(own, measurement.valid),
            "midpoint": judged(positive, "midpoint"),
            "absolute": judged(own, "absolute"),
        },
        forwards=head_evidence.forwards,
        settled=head_evidence.settled,
        evidence=head_evidence.evidence[measurement.evidence],
        region=region,
    )


def stored_bounds(exact: Bounds) -> Bounds:
    """Round the bounds to the precision of a row."""
    return Bounds(float(np.float32(exact.ceiling)), float(np.float32(exact.floor)))


def _stored(value: float | None) -> float | None:
    """Round to the precision of a row, so that a verdict recomputed from stored columns is the same to the last bit."""
    return None if value is None else float(np.float32(value))


def softmax(logits: Float64) -> Float64:
    """Compute the softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
