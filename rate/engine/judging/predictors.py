"""The predictions beside maps that another tool made: of a table, or of an artifact's unmasked images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from rate.backends.base import Backend
from rate.backends.batches import clean_rows
from rate.data.digests import SetDigest
from rate.data.set_faults import unknown_labels, with_suggestions
from rate.engine.job import Job
from rate.engine.verdicts.prediction import Head, Prediction, Reader
from rate.errors import DataError
from rate.kernels.separable import rise
from rate.types import Prepared


class Predictor(Protocol):
    """Says what a head predicts."""

    @property
    def name(self) -> str:
        """The name of the backend that computes it."""

    @property
    def precision(self) -> str:
        """The precision of its arithmetic."""

    @property
    def forwards(self) -> int:
        """The number of forwards of an image."""

    def predict(self, job: Job, ready: Sequence[Prepared]) -> Iterator[Prediction | str]:
        """Yield the prediction for each image, or why there is none."""


class PredictionTable:
    """Predictions of a table."""

    name = precision = "none"
    forwards = 0

    def __init__(self, predictions: Mapping[str, str], place: str) -> None:
        """Take the predicted class of each id, and where they are, for messages."""
        self._predictions, self.place = predictions, place

    def head(self, name: str, labels: Iterable[str]) -> Head:
        """Return a head whose classes are all that is predicted or labelled.

        Raises:
            DataError: nothing that is predicted is a label.
        """
        predicted, known = set(self._predictions.values()), sorted(labels)
        if len(unknown := unknown_labels(predicted, known)) == len(predicted):
            raise DataError(
                f"none of the predictions in {self.place} is a label of the set: "
                f"{with_suggestions(unknown, known)}; predictions are names of classes, as labels are"
            )
        return Head(name, tuple(sorted(predicted | set(known))))

    def digest(self) -> str:
        """Compute a digest, independent of the order of rows."""
        digest = SetDigest()
        for one in self._predictions.items():
            digest.add(hashlib.sha256(ascii(one).encode()).digest())
        return digest.hexdigest()

    def predict(self, job: Job, ready: Sequence[Prepared]) -> Iterator[Prediction | str]:
        """See `Predictor`."""
        for prepared in ready:
            sample = prepared.sample
            if (predicted := self._predictions.get(sample.id)) is None:
                yield f"{self.place} has no prediction of sample {sample.id!r}"
                continue
            explained = sample.label if job.measurement.explain == "label" else predicted
            head, correct = job.heads[0].name, predicted == sample.label
            yield Prediction(head, predicted, None, correct, explained, np.nan, None)


class Forward:
    """Predictions of one head of an artifact, in batches of one size: below f32 a logit may depend on it."""

    forwards = 1

    def __init__(self, backend: Backend, job: Job) -> None:
        """Bind the open ``backend`` to the images of a job."""
        self.name, self.precision, self._backend = backend.name, backend.precision, backend
        self._masks, self._batch = rise(job.geometry.size, 2), job.on_backend(backend.name).execution.batch
        backend.bind(self._masks, self._batch)
        [head] = job.heads
        self._reader = Reader((head,), job.measurement, {head.name: np.zeros((1, len(head.classes)), np.float32)})

    def predict(self, job: Job, ready: Sequence[Prepared]) -> Iterator[Prediction | str]:
        """See `Predictor`."""
        for slot, prepared in enumerate(ready):
            self._backend.put(slot, prepared.picture)
        slots = np.minimum(np.arange(self._batch), len(ready) - 1)
        name = job.heads[0].name
        logits = self._backend.submit(clean_rows(self._masks, slots)).wait()[name].astype(np.float64)
        for prepared, own in zip(ready, logits[: len(ready)], strict=True):
            if np.isfinite(own).all():
                [prediction] = self._reader.predictions(prepared.sample, {name: own})
                yield replace(prediction, effect=None)
            else:
                yield f"the logits of head {name!r} are not finite (NaN or infinity)"
