"""Verdicts by swaps: the region on other pictures, and other pictures in the region."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import numpy as np

from rate.config import FEWEST_FILLS
from rate.engine.job import Job
from rate.engine.schedule import CLEAN_ROWS
from rate.engine.verdicts.fills import Fills, fills_met
from rate.engine.verdicts.prediction import Prediction, Reader, with_effects
from rate.engine.verdicts.verdict import Answers, SwapResult, Verdict
from rate.errors import SampleError
from rate.kernels.region import cuts_of_swaps
from rate.kernels.swap import ROWS_PER_FILL, clearance, shapley_values
from rate.types import GRID, INSIDE, OUTSIDE, HeadValues, Int64, Prepared, Rows, Scores, SoftRegion

_SIDES = np.array([INSIDE, OUTSIDE, GRID])
"""What each of a fill's rows keeps of the image."""


class SwapInstrument:
    """Swaps of region and rest; see `rate.engine.verdicts.verdict.Instrument`."""

    def __init__(self, job: Job, reader: Reader, fills: Fills, to_second: int) -> None:
        """Take the number of slots from an image to the same one with another region, ``to_second``."""
        self.job, self.reader, self.fills, self.to_second = job, reader, fills, to_second
        self.clean = job.perturbation.clean  # the only grid

    def cuts(self, prepared: Prepared) -> tuple[SoftRegion, ...]:
        """See `Instrument`."""
        boxed, measurement = prepared.sample.boxes is not None, self.job.measurement
        return cuts_of_swaps(prepared.region, prepared.ignored, boxed, measurement.margin, measurement.ramp)

    def begin(self, prepared: Prepared, slot: int, cuts: tuple[SoftRegion, ...]) -> SwappedSample:
        """See `Instrument`."""
        second = slot + self.to_second if len(cuts) > 1 else slot
        return SwappedSample(self, prepared, (slot, second), covers=bool(cuts) and bool(cuts[-1].min() == 255))


class SwappedSample:
    """A sample whose region and rest are swapped with other pictures; see `PerturbedSample`."""

    def __init__(self, instrument: SwapInstrument, prepared: Prepared, slots: tuple[int, int], covers: bool) -> None:
        """Take the slots for the region and for the rest, and whether the grown region leaves nothing of the rest."""
        self.measurement = instrument.job.measurement
        self.prepared, self._slots, self._instrument = prepared, np.array(slots), instrument
        self.area = prepared.area
        self.reason = _region_reason(self.area, covers)
        self._met = fills_met(instrument.job, instrument.fills, prepared)
        self.rows_per_fill = instrument.job.rows_per_fill

    def rows(self, start: int, stop: int) -> Rows:
        """See `PerturbedSample`."""
        numbers, kinds = np.divmod(np.arange(start, stop), self.rows_per_fill)
        # A third row of a fill shows nothing of the image: its grid hides all.
        shown = (kinds < ROWS_PER_FILL).astype(np.float32)[:, None, None]
        return Rows(
            slot=self._slots[kinds % ROWS_PER_FILL],
            grid=shown * self._instrument.clean,
            offset=np.zeros((stop - start, 2), np.int64),
            fill=np.asarray(self._instrument.fills.first + self._met[numbers]),
            side=_SIDES[kinds],
        )

    def evidence(self, predictions: tuple[Prediction, ...], answers: Answers) -> SwapEvidence:
        """See `PerturbedSample`."""
        reader, sample = self._instrument.reader, self.prepared.sample
        if self.rows_per_fill == ROWS_PER_FILL:
            nothing = reader.scores_of_nothing(predictions, sample)[
                :, self._met[: answers.scores.shape[1] // ROWS_PER_FILL]
            ]
        else:
            nothing = answers.scores[:, ROWS_PER_FILL :: self.rows_per_fill]
            predictions = with_effects(predictions, nothing.mean(axis=1))
        if not np.isfinite(nothing).all():
            raise SampleError("the scores of a picture of the bank are not finite (NaN or infinity)")
        columns = [reader.columns(prediction.head, sample) for prediction in predictions]
        label = sample.label
        wanted = np.array([[c[p.name], c[label]] for p, c in zip(predictions, columns, strict=True)])
        return SwapEvidence(self, predictions, answers, nothing, wanted)


class SwapEvidence:
    """The swaps of one sample after some of its fills, for k heads; see `SampleEvidence`."""

    def __init__(
        self,
        sample: SwappedSample,
        predictions: tuple[Prediction, ...],
        answers: Answers,
        nothing: Scores,
        wanted: Annotated[Int64, "k 2"],
    ) -> None:
        """Take the scores [k,n] of the fills by themselves, and the indices of prediction and label."""
        self._sample, self._predictions, self._tau = sample, predictions, sample.measurement.tau
        self._whole = np.array([prediction.score for prediction in predictions])
        self._each = sample.rows_per_fill
        self._inside, self._outside = (answers.scores[:, first :: self._each] for first in (0, 1))
        self._nothing, self._wanted = nothing, wanted
        # Fills until a verdict is clear end where they favour one side, so their predictions do, too; the first do not.
        counted = self._each * FEWEST_FILLS if sample.measurement.fills == "auto" else None
        self._counted = answers.predicted[:, :counted]
        self._values = shapley_values(self._whole, self._inside, self._outside, nothing)

    @cached_property
    def clearance(self) -> list[float | None]:
        """See `SampleEvidence`."""
        if self._sample.reason is not None:
            return [None] * len(self._predictions)
        distances = clearance(self._whole, self._inside, self._outside, self._nothing, self._tau)
        return [float(value) for value in np.where(self._values.has_evidence, distances, 0.0)]

    def verdict(self, k: int, settled: str) -> Verdict:
        """See `SampleEvidence`."""
        values, reason = self._values, self._sample.reason
        if reason is None and not values.has_evidence[k]:
            reason = "no-evidence"
        share = _stored(values.share[k])
        alone, without = (_shares(self._counted[k, first :: self._each], self._wanted[k]) for first in (0, 1))
        return Verdict(
            sample=self._sample.prepared.sample,
            prediction=self._predictions[k],
            area=self._sample.area,
            region=self._sample.prepared.region,
            reason=reason,
            valid=None if reason is not None or share is None else share >= self._tau,
            forwards=CLEAN_ROWS + self._each * self._inside.shape[1],
            settled=settled,
            swap=SwapResult(
                share=share,
                share_se=_stored(values.share_se[k]),
                phi_region=float(values.region[k]),
                phi_rest=float(values.rest[k]),
                phi_region_se=_stored(values.region_se[k]),
                phi_rest_se=_stored(values.rest_se[k]),
                kept_alone=self._swapped(alone[0]),
                kept_without=self._swapped(without[0]),
                object_only=self._swapped(alone[1]),
                background_only=self._swapped(without[1]),
                fills=self._inside.shape[1],
            ),
        )

    def _swapped(self, share: float) -> float | None:
        """Return a share of predictions; None if the region leaves nothing to swap."""
        return None if self._sample.reason is not None else float(share)


def _shares(predicted: Annotated[Int64, "n"], wanted: Annotated[Int64, "w"]) -> HeadValues:
    """Compute the share [w] of the rows with each of the wanted predictions."""
    return np.asarray((predicted == wanted[:, None]).mean(axis=1))


def _region_reason(area: float, covers: bool) -> str | None:
    """Tell why a region has no verdict, whatever the scores are."""
    if area == 0.0:
        return "empty-region"
    if area == 1.0:
        return "full-region"
    return "full-when-grown" if covers else None


def _stored(value: float) -> float | None:
    """Round to the precision of a row; None for NaN."""
    return float(np.float32(value)) if np.isfinite(value) else None
