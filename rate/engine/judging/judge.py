"""The runner that judges maps that another tool made; its rows, rules and files are those of any other run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from rate.backends.process import one_blas_thread
from rate.data.given_maps import GivenMaps, MapShape, as_map
from rate.engine.engine import decode_threads
from rate.engine.job import Job
from rate.engine.judging.predictors import Predictor
from rate.engine.outcome import Explainer, Outcome, Step
from rate.engine.prefetch import Prefetch
from rate.engine.verdicts.map_verdict import HeadEvidence, is_as_published, stored_bounds, verdict_on
from rate.engine.verdicts.prediction import Prediction
from rate.errors import SampleError
from rate.judging import WHOLE
from rate.kernels.blur import bounds_under
from rate.kernels.resize import resized
from rate.kernels.saliency import Maps, evidence
from rate.runs.rows import RunStats
from rate.statistics.validity import CONSTANT_MAP, NAN_MAP
from rate.types import Float32, Float64, HeatMap, Prepared, Sample

Ask = Callable[[str, Float32, str], Any]
"""Makes the map of a sample from its id, the pixels [3,h,w] that the model sees, and the explained class."""


class Judge(Explainer):
    """A runner that judges given maps, in this process."""

    def __init__(self, maps: GivenMaps | Ask, predictor: Predictor, crop: str) -> None:
        """Take what a map covers: `WHOLE`, `CENTER` or `SQUASH`."""
        self.backend, self.precision = predictor.name, predictor.precision
        self._maps, self._predictor, self._crop = maps, predictor, crop

    def steps(self, job: Job, samples: Iterable[Sample]) -> Iterator[Step]:
        """See `Explainer`."""
        batch, threads = job.execution.batch_on(self.backend), decode_threads(job.execution.threads)
        judged = _Verdicts(job, self._crop, self._predictor.forwards)
        with Prefetch(samples, job.read, threads, 2 * batch, job.execution.io) as source, one_blas_thread():
            for ready, failed, waiting_s in source.batches(batch):
                forwards = len(ready) * self._predictor.forwards
                rows = batch * self._predictor.forwards if ready else 0
                stats = RunStats(forwards, forwards, rows, waiting_s=waiting_s)
                predictions = self._predictor.predict(job, ready) if ready else ()
                outcomes = [judged.outcome(*pair, self._map) for pair in zip(ready, predictions, strict=True)]
                yield Step((*failed, *outcomes), stats)

    def _map(self, prepared: Prepared, prediction: Prediction) -> Float64:
        identifier = prepared.sample.id
        if isinstance(self._maps, GivenMaps):
            return self._maps.of_sample(identifier)
        made = self._maps(identifier, prepared.picture.pixels, prediction.explained)
        if made is None:
            raise SampleError(f"the function made no map of sample {identifier!r}")
        return as_map(made, f"the map of {identifier!r}")


class _Verdicts:
    """The verdicts of a job on maps [y,x] of any size."""

    def __init__(self, job: Job, crop: str, forwards: int) -> None:
        self._measurement, self._size, self._crop, self._forwards = job.measurement, job.geometry.size, crop, forwards
        self._bounds = bounds_under(job.measurement.to_json()["blur"], self._size)

    def outcome(
        self,
        prepared: Prepared,
        prediction: Prediction | str,
        map_of: Callable[[Prepared, Prediction], Float64],
    ) -> Outcome:
        """Return the verdict on a map, or why there is none."""
        if isinstance(prediction, str):
            return Outcome(prepared.sample, error=prediction)
        try:
            values = map_of(prepared, prediction)
            check_shape(values, prepared, self._crop)
        except SampleError as error:
            return Outcome(prepared.sample, error=str(error))
        kinds, fault = evidence_of(values, self._size)
        head_evidence = HeadEvidence(
            evidence=kinds,
            bounds=stored_bounds(self._bounds(prepared.region, prepared.ignored)),
            forwards=self._forwards,
            settled="fixed",
            as_published=is_as_published(self._measurement),
            fault=fault,
        )
        return Outcome(prepared.sample, (verdict_on(head_evidence, prepared, prediction, self._measurement),))


_LARGEST = 1e200
"""The largest value whose sum over an image is finite."""


def evidence_of(values: Float64, size: int) -> tuple[dict[str, HeatMap], str | None]:
    """Return the evidence [h,w] of every kind in a map [y,x], and why it can have no verdict; None = it can.

    The positive part is taken of the map as it is, and then resized; to be scaled to [0, 1], it is resized first.

    >>> kinds, fault = evidence_of(np.array([[-1.0, 3.0], [1.0, 1.0]]), 2)
    >>> kinds["positive"].tolist(), kinds["minmax"].tolist(), fault
    ([[0.0, 3.0], [1.0, 1.0]], [[0.0, 1.0], [0.5, 0.5]], None)
    """
    if not np.isfinite(values).all():
        return dict.fromkeys(("positive", "minmax", "raw"), np.zeros((size, size))), NAN_MAP
    if (peak := np.abs(values).max()) > _LARGEST:
        values = values / peak
    whole = resized(values, size)
    positive = resized(np.maximum(values, 0.0), size) if values.min() < 0 else whole
    scaled = evidence(Maps(whole[None], np.zeros(1), lambda: whole[None]), "minmax")[0]
    constant = values.min() == values.max() > 0
    return {"positive": positive, "minmax": scaled, "raw": positive}, CONSTANT_MAP if constant else None


def check_shape(values: Float64, prepared: Prepared, crop: str) -> None:
    """Refuse a map [y,x] that cannot cover what ``crop`` says of its image.

    Raises:
        MapShape: says what was expected.
    """
    (height, width), (image_width, image_height) = values.shape, prepared.image_size
    what = f"the map of {prepared.sample.id!r} is {width} x {height}"
    if crop != WHOLE:
        if width != height:
            raise MapShape(f"{what}, and a map of what a model saw is square; --crop whole takes maps of whole images")
    elif not _fits(width, height, image_width, image_height):
        turned = _fits(height, width, image_width, image_height)
        cure = (
            "it is that of the image on its side, or before its EXIF rotation: turn it"
            if turned
            else "a map of what a model saw of it needs --crop center or squash"
        )
        raise MapShape(f"{what}, and the upright image is {image_width} x {image_height}: {cure}")


def _fits(width: int, height: int, image_width: int, image_height: int) -> bool:
    """Tell whether one of the sides is that of the scaled image but for rounding."""
    return (
        abs(width - height * image_width / image_height) <= 1 or abs(height - width * image_height / image_width) <= 1
    )
