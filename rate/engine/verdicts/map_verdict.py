"""Verdicts by a saliency map's mass inside the region, the paper's way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rate.config import FILLS_OF_MAPS, Measurement
from rate.engine.job import Job
from rate.engine.schedule import CLEAN_ROWS
from rate.engine.verdicts.fills import Fills, fills_met
from rate.engine.verdicts.prediction import Prediction, Reader, with_effects
from rate.engine.verdicts.verdict import Answers, MapResult, Verdict
from rate.errors import SampleError
from rate.kernels.saliency import Bounds, Masks, evidence
from rate.statistics.validity import NAN_MAP, is_valid, localization, relevance_mass, threshold, undefined_reason
from rate.types import GRID, INSIDE, Float64, HeadValues, Int64, Prepared, Rows, Scores, SoftRegion

EVIDENCE_KINDS = ("positive", "minmax", "raw")

LUCK = 0.3
"""The strength that chance gives to one in ten maps of scores that are unrelated to the masks.

Strength grows with the number of masks. A map that would have too little at the last checkpoint, were it as lucky, is
not drawn further.
"""


class MapInstrument:
    """Masks of a saliency method, folded into maps; see `rate.engine.verdicts.verdict.Instrument`."""

    def __init__(self, job: Job, reader: Reader, fills: Fills, to_mean: int) -> None:
        """Take the number of slots from an image to its mean colour, ``to_mean``."""
        self.job, self.reader, self.fills, self.to_mean = job, reader, fills, to_mean
        self.method = job.method
        self.asks, self.before = job.asks, job.rows_before_masks

    def cuts(self, prepared: Prepared) -> tuple[SoftRegion, ...]:
        """See `Instrument`."""
        return ()

    def begin(self, prepared: Prepared, slot: int, cuts: tuple[SoftRegion, ...]) -> MaskedSample:
        """See `Instrument`."""
        return MaskedSample(self, prepared, slot)


class MaskedSample:
    """A sample under masks; see `PerturbedSample`."""

    def __init__(self, instrument: MapInstrument, prepared: Prepared, slot: int) -> None:
        self.measurement, self.method, self.before = instrument.job.measurement, instrument.method, instrument.before
        self.prepared, self._slot, self._instrument = prepared, slot, instrument
        self._drawn = self.method.draw(prepared.sample.id, 0, 0)
        self._met = fills_met(instrument.job, instrument.fills, prepared)[:FILLS_OF_MAPS]

    @cached_property
    def bounds(self) -> Bounds:
        """What relevance masses can be, in the stored precision."""
        return stored_bounds(self.method.bounds(self.prepared.region, self.prepared.ignored))

    def rows(self, start: int, stop: int) -> Rows:
        """See `PerturbedSample`."""
        first = max(start - self.before, 0)
        masks = self._masks(max(stop - self.before, first))[first:]
        hidden = stop - start - len(masks)  # rows before the masks show nothing of the image: their region is empty
        own = self.measurement.fill == "own"
        numbers = np.arange(start, stop) - self.before
        met = np.where(numbers < 0, self._met[np.arange(start, stop) % len(self._met)], self._fills(numbers))
        return Rows(
            slot=np.full(stop - start, self._slot, np.int64),
            grid=np.concatenate([np.zeros((hidden, *masks.grid.shape[1:]), np.float32), masks.grid]),
            offset=np.concatenate([np.zeros((hidden, 2), np.int64), masks.offset]),
            fill=np.full(stop - start, self._slot + self._instrument.to_mean)
            if own
            else self._instrument.fills.first + met,
            side=np.where(numbers < 0, INSIDE, GRID),
        )

    def evidence(self, predictions: tuple[Prediction, ...], answers: Answers) -> MapEvidence:
        """See `PerturbedSample`."""
        scores = answers.scores[:, self.before :]
        if self.before:
            turns = self._turns(np.arange(scores.shape[1])) % self.before
            nothing = answers.scores[:, turns].mean(axis=1)
            predictions = with_effects(predictions, nothing)
        else:
            met, sample = self._fills(np.arange(scores.shape[1])), self.prepared.sample
            nothing = self._instrument.reader.scores_of_nothing(predictions, sample)[:, met].mean(axis=1)
        return MapEvidence(self, predictions, nothing, scores, self._masks(scores.shape[1]))

    def _masks(self, stop: int) -> Masks:
        """Return the first masks; they are drawn once, since every checkpoint needs all before it."""
        if len(self._drawn) < stop:
            self._drawn = self._drawn.followed_by(self.method.draw(self.prepared.sample.id, len(self._drawn), stop))
        return self._drawn[:stop]

    def _fills(self, masks: Int64) -> Int64:
        """Choose the fill of each mask; pictures take turns, each behind one mask of every share of kept cells."""
        return np.asarray(self._met[self._turns(masks)])

    def _turns(self, masks: Int64) -> Int64:
        """Choose the place of the fill of each mask among those that the sample meets."""
        return np.asarray(masks // len(self.measurement.shares) % len(self._met))


class MapEvidence:
    """The maps of one sample after some of its masks, for k heads; see `SampleEvidence`."""

    def __init__(
        self,
        sample: MaskedSample,
        predictions: tuple[Prediction, ...],
        nothing: HeadValues,
        scores: Scores,
        masks: Masks,
    ) -> None:
        """Take scores [k,n] under ``masks``, and those of what stands where pixels are hidden."""
        self._sample, self._method, self._measurement = sample, sample.method, sample.measurement
        self._predictions, self._scores, self._masks = predictions, scores, masks
        self._maps = self._method.maps(np.array([p.score for p in predictions]), nothing, scores, masks)
        if not np.isfinite(self._maps.constant).all():
            raise SampleError("the scores of what stands where pixels are hidden are not finite (NaN or infinity)")
        self._strength = self._method.strength(scores, masks, self._maps)
        ignored = sample.prepared.ignored
        self._judged = self._maps if ignored is None else self._maps.without(ignored)

    @cached_property
    def clearance(self) -> list[float | None]:
        """See `SampleEvidence`."""
        region, bounds = self._sample.prepared.region, self._sample.bounds
        ceiling, floor = bounds.ceiling, bounds.floor
        if undefined_reason(self._sample.prepared.area, 0.0, ceiling, floor, above_noise=True) is not None:
            return [None] * len(self._predictions)
        needed = threshold(ceiling, floor, self._measurement.valid, self._measurement.tau)
        distances = self._method.clearance(self._scores, self._masks, self._judged, region, needed)
        return clearances(distances, self._strength, self._method.count / self._scores.shape[1])

    @cached_property
    def _errors(self) -> Float64 | None:
        return self._method.standard_error(self._scores, self._masks, self._judged, self._sample.prepared.region)

    @cached_property
    def _evidence(self) -> dict[str, Float64]:
        return {kind: evidence(self._maps, kind) for kind in EVIDENCE_KINDS}

    def verdict(self, k: int, settled: str) -> Verdict:
        """See `SampleEvidence`."""
        head_evidence = HeadEvidence(
            evidence={kind: maps[k] for kind, maps in self._evidence.items()},
            bounds=self._sample.bounds,
            forwards=CLEAN_ROWS + self._sample.before + self._scores.shape[1],
            settled=settled,
            above_noise=bool(self._strength[k] >= 1.0),
            standard_error=None if self._errors is None else float(self._errors[k]),
        )
        return verdict_on(head_evidence, self._sample.prepared, self._predictions[k], self._measurement)


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
    fault: str | None = None  # why the map by itself leaves no verdict


def verdict_on(
    head_evidence: HeadEvidence, prepared: Prepared, prediction: Prediction, measurement: Measurement
) -> Verdict:
    """Judge the evidence under the rule of ``measurement``, and under the other rules."""
    region, area, bounds = prepared.region, prepared.area, head_evidence.bounds
    judged_on = {kind: np.where(prepared.counted, one, 0.0) for kind, one in head_evidence.evidence.items()}
    mass = {kind: stored(relevance_mass(one, region)) for kind, one in judged_on.items()}
    own, positive = mass[measurement.evidence], mass["positive"]
    of_region = undefined_reason(area, own, bounds.ceiling, bounds.floor, head_evidence.above_noise)
    usual = head_evidence.fault or of_region
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
            evidence=judged_on[measurement.evidence],
        ),
    )


def is_as_published(measurement: Measurement) -> bool:
    """Tell whether the rule is the one that the paper's script holds against maps."""
    return (measurement.evidence, measurement.valid) == ("minmax", "absolute")


def stored_bounds(exact: Bounds) -> Bounds:
    """Round the bounds to the precision of a row."""
    return Bounds(float(np.float32(exact.ceiling)), float(np.float32(exact.floor)))


def stored(value: float | None) -> float | None:
    """Round to the precision of a row, so that a verdict recomputed from stored columns is the same to the last bit."""
    return None if value is None else float(np.float32(value))
