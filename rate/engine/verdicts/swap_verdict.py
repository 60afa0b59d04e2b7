"""Verdicts by swaps: the region on other pictures, and other pictures in the region."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import numpy as np

from rate.config import FEWEST_FILLS, Measurement
from rate.engine.schedule import CLEAN_ROWS
from rate.engine.verdicts.fills import FillOrder, remembered
from rate.engine.verdicts.prediction import Prediction, Reader
from rate.engine.verdicts.stopping import Stopping
from rate.engine.verdicts.verdict import Answers, PerturbedRows, SwapResult, Verdict
from rate.errors import SampleError
from rate.kernels.region import cut_of_swaps
from rate.kernels.separable import Perturbation
from rate.kernels.swap import ROWS_PER_FILL, clearance, shapley_values
from rate.types import HeadValues, Int64, Prepared, Scores, SoftRegion


class SwapInstrument:
    """Swaps of region and rest; see `rate.engine.verdicts.verdict.Instrument`."""

    def __init__(
        self, perturbation: Perturbation, measurement: Measurement, reader: Reader, order: FillOrder, stopping: Stopping
    ) -> None:
        self.perturbation, self.stopping = perturbation, stopping
        self._measurement, self._reader, self._order = measurement, reader, order
        self._covers = remembered(lambda prepared: bool(np.asarray(self.region(prepared)).min() >= 1.0))

    def region(self, prepared: Prepared) -> SoftRegion | None:
        """See `Instrument`."""
        boxed = prepared.sample.boxes is not None
        return cut_of_swaps(prepared.region, boxed, self._measurement.margin, self._measurement.ramp)

    def rows(self, prepared: Prepared, start: int, stop: int) -> PerturbedRows:
        """See `Instrument`."""
        count, rows = stop - start, np.arange(start, stop)
        return PerturbedRows(
            grid=np.repeat(self.perturbation.clean[None], count, axis=0),
            offset=np.zeros((count, 2), np.int64),
            side=1 + rows % ROWS_PER_FILL,
            fill=np.asarray(self._order(prepared)[rows // ROWS_PER_FILL]),
        )

    def evidence(self, prepared: Prepared, predictions: tuple[Prediction, ...], answers: Answers) -> SwapEvidence:
        """See `Instrument`."""
        fills = answers.scores.shape[1] // ROWS_PER_FILL
        nothing = self._reader.scores_of_nothing(predictions)[:, self._order(prepared)[:fills]]
        if not np.isfinite(nothing).all():
            raise SampleError("the scores of a picture of the bank are not finite (NaN or infinity)")
        columns = [self._reader.columns(prediction.head) for prediction in predictions]
        wanted = np.array([[c[p.name], c[prepared.sample.label]] for p, c in zip(predictions, columns, strict=True)])
        return SwapEvidence(self._measurement, prepared, predictions, answers, nothing, wanted, self._covers(prepared))


class SwapEvidence:
    """The swaps of one sample after some of its fills, for k heads; see `SampleEvidence`."""

    def __init__(
        self,
        measurement: Measurement,
        prepared: Prepared,
        predictions: tuple[Prediction, ...],
        answers: Answers,
        nothing: Scores,
        wanted: Annotated[Int64, "k 2"],
        covers: bool,
    ) -> None:
        """Take scores [k,n] of the fills, indices of prediction and label, and whether the grown region covers all."""
        self._prepared, self._predictions, self._tau = prepared, predictions, measurement.tau
        self._whole = np.array([prediction.score for prediction in predictions])
        self._inside, self._outside = answers.scores[:, 0::2], answers.scores[:, 1::2]
        self._nothing, self._wanted = nothing, wanted
        # Fills until a verdict is clear end where they favour one side, so their predictions do, too; the first do not.
        self._counted = answers.predicted[:, : ROWS_PER_FILL * FEWEST_FILLS if measurement.fills == "auto" else None]
        self._area = float(prepared.region.mean())
        self._reason = _region_reason(self._area, covers)
        self._values = shapley_values(self._whole, self._inside, self._outside, nothing)

    @cached_property
    def clearance(self) -> list[float | None]:
        """See `SampleEvidence`."""
        if self._reason is not None:
            return [None] * len(self._predictions)
        distances = clearance(self._whole, self._inside, self._outside, self._nothing, self._tau)
        return [float(value) for value in np.where(self._values.has_evidence, distances, 0.0)]

    def verdict(self, k: int, settled: str) -> Verdict:
        """See `SampleEvidence`."""
        values, reason = self._values, self._reason
        if reason is None and not values.has_evidence[k]:
            reason = "no-evidence"
        share = _stored(values.share[k])
        alone, without = (_shares(self._counted[k, first::ROWS_PER_FILL], self._wanted[k]) for first in (0, 1))
        return Verdict(
            sample=self._prepared.sample,
            prediction=self._predictions[k],
            area=self._area,
            region=self._prepared.region,
            reason=reason,
            valid=None if reason is not None or share is None else share >= self._tau,
            forwards=CLEAN_ROWS + ROWS_PER_FILL * self._inside.shape[1],
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
        return None if self._reason is not None else float(share)


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
