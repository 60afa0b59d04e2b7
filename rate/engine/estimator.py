"""Folds (plan, logits) into evidence and verdicts. Holds one number per mask and head, never a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rate.backends.base import Logits
from rate.config import Measurement
from rate.engine.schedule import CLEAN_ROWS, Plan
from rate.errors import SampleError
from rate.kernels.saliency import Bounds, Method, evidence
from rate.metrics import is_valid, localization, relevance_mass, undefined_reason
from rate.types import Bool, Float64, Prepared, Sample

EVIDENCE_KINDS = ("positive", "minmax", "raw")


@dataclass(frozen=True, slots=True)
class Head:
    """A classifier on the shared tower."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a head says about the image as it is, and how much the explained class depends on there being an image."""

    head: str
    name: str  # predicted class
    probability: float
    correct: bool
    explained: str  # class whose score is explained
    score: float  # of that class on the clean image
    effect: float  # its score on the clean image minus its score on nothing


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What one head's prediction of one sample rests on."""

    sample: Sample
    prediction: Prediction
    mass: dict[str, float | None]  # evidence kind -> relevance mass; None without evidence
    standard_error: float | None  # of the mass of the positive evidence
    bounds: Bounds
    area: float  # share of the image inside the region
    localization: float | None  # of the positive evidence
    reason: str | None  # why there is no verdict; None: there is one
    valid: dict[str, bool | None]  # rule -> valid; "run" is the run's own; None where undefined
    forwards: int  # clean row included
    evidence: Float64  # [h,w] of the run's kind
    region: Bool  # [h,w]


Settled = tuple[int, "list[Verdict] | SampleError"]
"""A ticket, and one verdict a head, or why there is none."""


class Estimator:
    """Turns rows into verdicts. A verdict depends on its sample's rows alone, taken in the order of its masks."""

    def __init__(self, method: Method, heads: tuple[Head, ...], measurement: Measurement, nothing: Logits) -> None:
        """``nothing``: logits [1,c] of the fully masked image, which is the same for every sample."""
        self._judge = Judge(method, heads, measurement, nothing)
        self._method = method
        self._open: dict[int, _Open] = {}

    @property
    def rows(self) -> int:
        """Rows a sample needs, clean row included."""
        return CLEAN_ROWS + self._method.count

    def begin(self, ticket: int, prepared: Prepared) -> None:
        """Expect the rows of ``prepared`` under ``ticket``."""
        self._open[ticket] = _Open(prepared, np.empty((len(self._judge.heads), self._method.count)))

    def fold(self, plan: Plan, logits: Logits) -> list[Settled]:
        """Take the logits of a batch; returns the samples that it settles."""
        settled: list[Settled] = []
        at = 0
        for span in plan.spans:
            rows = {name: values[at : at + len(span)] for name, values in logits.items()}
            at += len(span)
            sample = self._open.get(span.ticket)
            if sample is None:  # it failed on an earlier row; the rest of its rows means nothing
                continue
            try:
                self._take(sample, span.start, rows)
                if sample.filled < self.rows:
                    continue
                settled.append((span.ticket, self._judge.verdicts(sample.prepared, sample.predictions, sample.scores)))
            except SampleError as error:
                settled.append((span.ticket, error))
            del self._open[span.ticket]
        return settled

    def _take(self, sample: _Open, start: int, rows: Logits) -> None:
        for name, values in rows.items():
            if not np.isfinite(values).all():
                raise SampleError(f"the logits of head {name!r} are not finite (NaN or infinity)")
        if start == 0:
            clean = {name: values[0].astype(np.float64) for name, values in rows.items()}
            sample.predictions = self._judge.predictions(sample.prepared.sample, clean)
        masked = {name: values[CLEAN_ROWS if start == 0 else 0 :] for name, values in rows.items()}
        scores = self._judge.scores(sample.predictions, masked)
        first = max(start - CLEAN_ROWS, 0)
        sample.scores[:, first : first + scores.shape[1]] = scores
        sample.filled += len(next(iter(rows.values())))


@dataclass(slots=True, eq=False)
class _Open:
    """A sample whose rows are coming in."""

    prepared: Prepared
    scores: Float64  # [k,n] of the explained class of each head
    predictions: tuple[Prediction, ...] = ()
    filled: int = 0


class Judge:
    """Logits to predictions and scores, scores to verdicts: no state, no order."""

    def __init__(self, method: Method, heads: tuple[Head, ...], measurement: Measurement, nothing: Logits) -> None:
        self.heads = heads
        self._method, self._measurement = method, measurement
        self._nothing = {name: values[0].astype(np.float64) for name, values in nothing.items()}
        self._column = {head.name: {name: i for i, name in enumerate(head.classes)} for head in heads}

    def predictions(self, sample: Sample, clean: dict[str, Float64]) -> tuple[Prediction, ...]:
        """One prediction a head from the clean image's logits [c]."""
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
            effect=clean - nothing,
        )

    def scores(self, predictions: tuple[Prediction, ...], logits: dict[str, np.ndarray]) -> Float64:
        """[k,n] score of each head's explained class from its logits [n,c]."""
        columns = [(p.head, self._column[p.head][p.explained]) for p in predictions]
        return np.stack([self._score(logits[head].astype(np.float64), column) for head, column in columns])

    def _score(self, logits: Float64, column: int) -> Float64:
        chosen = logits if self._measurement.score == "logit" else softmax(logits)
        return np.asarray(chosen[..., column])

    def verdicts(self, prepared: Prepared, predictions: tuple[Prediction, ...], scores: Float64) -> list[Verdict]:
        """One verdict a head from the scores [k,n] of all masks of a sample."""
        masks = self._method.draw(prepared.sample.id, 0, self._method.count)
        maps = self._method.maps(np.array([p.score for p in predictions]), scores, masks)
        errors = self._method.standard_error(scores, masks, maps, prepared.region)
        above = self._method.above_noise(scores, maps)
        exact = self._method.bounds(prepared.region)
        bounds = Bounds(float(np.float32(exact.ceiling)), float(np.float32(exact.floor)))
        kinds = {kind: evidence(maps, kind) for kind in EVIDENCE_KINDS}
        return [
            self._verdict(
                prepared,
                prediction,
                {kind: values[k] for kind, values in kinds.items()},
                bounds,
                bool(above[k]),
                None if errors is None else float(errors[k]),
            )
            for k, prediction in enumerate(predictions)
        ]

    def _verdict(
        self,
        prepared: Prepared,
        prediction: Prediction,
        kinds: dict[str, Float64],
        bounds: Bounds,
        above_noise: bool,
        standard_error: float | None,
    ) -> Verdict:
        ceiling, floor, area = bounds.ceiling, bounds.floor, float(prepared.region.mean())
        mass = {kind: _stored(relevance_mass(values, prepared.region)) for kind, values in kinds.items()}
        own, positive = mass[self._measurement.evidence], mass["positive"]
        reason = undefined_reason(area, own, ceiling, floor, above_noise)
        tau = self._measurement.tau

        def judged(value: float | None, rule: str) -> bool | None:
            return None if reason or value is None else is_valid(value, ceiling, floor, rule, tau)

        return Verdict(
            sample=prepared.sample,
            prediction=prediction,
            mass=mass,
            standard_error=standard_error,
            bounds=bounds,
            area=area,
            localization=None if positive is None else localization(positive, ceiling, floor),
            reason=reason,
            valid={
                "run": judged(own, self._measurement.valid),
                "midpoint": judged(positive, "midpoint"),
                "absolute": judged(own, "absolute"),
            },
            forwards=CLEAN_ROWS + self._method.count,
            evidence=kinds[self._measurement.evidence],
            region=prepared.region,
        )


def _stored(value: float | None) -> float | None:
    """As a row stores it: a verdict recomputed from the stored columns is then the verdict, to the last bit."""
    return None if value is None else float(np.float32(value))


def softmax(logits: Float64) -> Float64:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
