"""Verdicts by a saliency map's mass inside the region, the paper's way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rate.config import FILLS_OF_MAPS, Measurement
from rate.engine.schedule import CLEAN_ROWS
from rate.engine.verdicts.fills import FillOrder, remembered
from rate.engine.verdicts.prediction import Prediction, Reader
from rate.engine.verdicts.stopping import Stopping, rows_before_masks, stopping_for
from rate.engine.verdicts.verdict import OWN_MEAN, Answers, MapResult, PerturbedRows, Verdict
from rate.errors import SampleError
from rate.kernels.saliency import Bounds, Masks, Method, evidence
from rate.kernels.separable import Perturbation
from rate.statistics.validity import NAN_MAP, is_valid, localization, relevance_mass, threshold, undefined_reason
from rate.types import Float64, HeadValues, Int64, Prepared, Scores, SoftRegion

_SAMPLES_WITH_MASKS = 64
"""The latest samples whose masks are kept; those of others are drawn again."""

EVIDENCE_KINDS = ("positive", "minmax", "raw")

LUCK = 0.3
"""The strength that chance gives to one in ten maps of scores that are unrelated to the masks.

Strength grows with the number of masks. A map that would have too little at the last checkpoint, were it as lucky, is
not drawn further.
"""


class MapInstrument:
    """Masks of a saliency method, folded into maps; see `rate.engine.verdicts.verdict.Instrument`."""

    def __init__(self, method: Method, measurement: Measurement, reader: Reader, order: FillOrder) -> None:
        self._method, self._measurement, self._reader, self._order = method, measurement, reader, order
        self._drawn: dict[str, Masks] = {}
        self._bounds = remembered(lambda prepared: stored_bounds(method.bounds(prepared.region)))
        self._before = rows_before_masks(measurement, method)
        self.stopping: Stopping = stopping_for(measurement, method)

    @property
    def perturbation(self) -> Perturbation:
        """See `Instrument`."""
        return self._method.perturbation

    def region(self, prepared: Prepared) -> SoftRegion | None:
        """See `Instrument`."""
        return None

    def rows(self, prepared: Prepared, start: int, stop: int) -> PerturbedRows:
        """See `Instrument`."""
        first = max(start - self._before, 0)
        masks = self._masks(prepared.sample.id, max(stop - self._before, first))[first:]
        hidden = stop - start - len(masks)  # rows before the masks show nothing of the image
        return PerturbedRows(
            grid=np.concatenate([np.zeros((hidden, *masks.grid.shape[1:]), np.float32), masks.grid]),
            offset=np.concatenate([np.zeros((hidden, 2), np.int64), masks.offset]),
            side=np.zeros(stop - start, np.int64),
            fill=self._fills(prepared, np.arange(start, stop) - self._before),
        )

    def evidence(self, prepared: Prepared, predictions: tuple[Prediction, ...], answers: Answers) -> MapEvidence:
        """See `Instrument`."""
        scores = answers.scores[:, self._before :]
        if self._before:
            nothing = answers.scores[:, 0]
            predictions = tuple(replace(p, effect=p.score - n) for p, n in zip(predictions, nothing, strict=True))
        else:
            met = self._fills(prepared, np.arange(scores.shape[1]))
            nothing = self._reader.scores_of_nothing(predictions)[:, met].mean(axis=1)
        masks = self._masks(prepared.sample.id, scores.shape[1])
        bounds = self._bounds(prepared)
        return MapEvidence(self._method, self._measurement, prepared, predictions, nothing, scores, masks, bounds)

    def _masks(self, sample_id: str, stop: int) -> Masks:
        """Return the first masks of a sample; they are drawn once, since every checkpoint needs all before it."""
        drawn = self._drawn.pop(sample_id, None)
        if drawn is None:
            drawn = self._method.draw(sample_id, 0, stop)
        elif len(drawn) < stop:
            drawn = drawn.followed_by(self._method.draw(sample_id, len(drawn), stop))
        self._drawn[sample_id] = drawn  # the sample is now the latest
        if len(self._drawn) > _SAMPLES_WITH_MASKS:
            del self._drawn[next(iter(self._drawn))]
        return drawn[:stop]

    def _fills(self, prepared: Prepared, masks: Int64) -> Int64:
        """Choose the fill of each mask; pictures take turns, each behind one mask of every share of kept cells."""
        if self._measurement.fill == "own":
            return np.full(len(masks), OWN_MEAN)
        order = self._order(prepared)[:FILLS_OF_MAPS]
        return np.asarray(order[masks // len(self._measurement.shares) % len(order)])


class MapEvidence:
    """The maps of one sample after some of its masks, for k heads; see `SampleEvidence`."""

    def __init__(
        self,
        method: Method,
        measurement: Measurement,
        prepared: Prepared,
        predictions: tuple[Prediction, ...],
        nothing: HeadValues,
        scores: Scores,
        masks: Masks,
        bounds: Bounds,
    ) -> None:
        """Take scores [k,n] under ``masks``, those of what stands where pixels are hidden, and `stored_bounds`."""
        self._method, self._measurement = method, measurement
        self._prepared, self._predictions, self._scores = prepared, predictions, scores
        self._masks, self._bounds = masks, bounds
        self._maps = method.maps(np.array([p.score for p in predictions]), nothing, scores, self._masks)
        if not np.isfinite(self._maps.constant).all():
            raise SampleError("the scores of what stands where pixels are hidden are not finite (NaN or infinity)")
        self._strength = method.strength(scores, self._masks, self._maps)
        self._area = float(prepared.region.mean())

    @cached_property
    def clearance(self) -> list[float | None]:
        """See `SampleEvidence`."""
        ceiling, floor = self._bounds.ceiling, self._bounds.floor
        if undefined_reason(self._area, 0.0, ceiling, floor, above_noise=True) is not None:
            return [None] * len(self._predictions)
        needed = threshold(ceiling, floor, self._measurement.valid, self._measurement.tau)
        distances = self._method.clearance(self._scores, self._masks, self._maps, self._prepared.region, needed)
        return clearances(distances, self._strength, self._method.count / self._scores.shape[1])

    @cached_property
    def _errors(self) -> Float64 | None:
        return self._method.standard_error(self._scores, self._masks, self._maps, self._prepared.region)

    @cached_property
    def _evidence(self) -> dict[str, Float64]:
        return {kind: evidence(self._maps, kind) for kind in EVIDENCE_KINDS}

    def verdict(self, k: int, settled: str) -> Verdict:
        """See `SampleEvidence`."""
        head_evidence = HeadEvidence(
            evidence={kind: maps[k] for kind, maps in self._evidence.items()},
            bounds=self._bounds,
            forwards=CLEAN_ROWS + rows_before_masks(self._measurement, self._method) + self._scores.shape[1],
            settled=settled,
            above_noise=bool(self._strength[k] >= 1.0),
            standard_error=None if self._errors is None else float(self._errors[k]),
        )
        return verdict_on(head_evidence, self._prepared, self._predictions[k], self._measurement)


def clearances(distances: HeadValues, strength: HeadValues, ahead: float) -> list[float | None]:
    """Return the distances to the threshold as `SampleEvidence` has them.

    Args:
        distances: standard errors between evidence and threshold.
        strength: see `rate.kernels.saliency.Method`.
        ahead: the number of masks at the last checkpoint, relative to now.
    """
    clear = np.where(strength >= 1.0, distances, 0.0)
    may = (strength + LUCK) * ahead >= 1.0
    return [float(value) if hope else None for value, hope in zip(clear, may, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class HeadEvidence:
    """The evidence of one head on one sample, from any explainer."""

    evidence: dict[str, Float64]  # kind -> [h,w], see `EVIDENCE_KINDS`
    bounds: Bounds  # in the stored precision; see `stored_bounds`
    forwards: int
    settled: str
    above_noise: bool = True
    standard_error: float | None = None
    as_published: bool = False  # the paper's own rule: only a map without numbers leaves no verdict


def verdict_on(
    head_evidence: HeadEvidence, prepared: Prepared, prediction: Prediction, measurement: Measurement
) -> Verdict:
    """Judge the evidence under the rule of ``measurement``, and under the other rules."""
    region, area, bounds = prepared.region, float(prepared.region.mean()), head_evidence.bounds
    mass = {kind: stored(relevance_mass(one, region)) for kind, one in head_evidence.evidence.items()}
    own, positive = mass[measurement.evidence], mass["positive"]
    usual = undefined_reason(area, own, bounds.ceiling, bounds.floor, head_evidence.above_noise)
    reason = (NAN_MAP if own is None else None) if head_evidence.as_published else usual

    def judged(value: float | None, rule: str, reason: str | None = reason) -> bool | None:
        return None if reason or value is None else is_valid(value, bounds.ceiling, bounds.floor, rule, measurement.tau)

    return Verdict(
        sample=prepared.sample,
        prediction=prediction,
        area=area,
        region=region,
        reason=reason,
        valid=judged(own, measurement.valid),
        forwards=head_evidence.forwards,
        settled=head_evidence.settled,
        map=MapResult(
            mass=mass,
            standard_error=head_evidence.standard_error,
            bounds=bounds,
            localization=None if positive is None else localization(positive, bounds.ceiling, bounds.floor),
            midpoint=judged(positive, "midpoint", usual),
            absolute=judged(own, "absolute"),
            evidence=head_evidence.evidence[measurement.evidence],
        ),
    )


def stored_bounds(exact: Bounds) -> Bounds:
    """Round the bounds to the precision of a row."""
    return Bounds(float(np.float32(exact.ceiling)), float(np.float32(exact.floor)))


def stored(value: float | None) -> float | None:
    """Round to the precision of a row, so that a verdict recomputed from stored columns is the same to the last bit."""
    return None if value is None else float(np.float32(value))
