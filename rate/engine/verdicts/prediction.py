"""The predictions of the heads and the scores of the classes that are explained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from rate.backends.base import Logits
from rate.config import Measurement
from rate.kernels.score import score, softmax
from rate.types import Float64, HeadValues, Sample, Scores


@dataclass(frozen=True, slots=True)
class Head:
    """A classifier on the shared tower, or the answers of a generative model."""

    name: str
    classes: tuple[str, ...]  # empty: they are the options of each sample's question

    def classes_of(self, sample: Sample) -> tuple[str, ...]:
        """Return the classes in the order of the logits of a sample."""
        return self.classes if sample.question is None else self.classes or sample.question.options


@dataclass(frozen=True, slots=True)
class Prediction:
    """A head's prediction for the unmasked image, and the score's difference to that of the fills."""

    head: str
    name: str  # predicted class
    probability: float | None  # None: a prediction that was given
    correct: bool
    explained: str  # class whose score is explained
    score: float  # of the explained class on the unmasked image; NaN: a prediction that was given
    effect: float | None  # score less the mean score of what stands where pixels are hidden; None if not finite


def with_effects(predictions: tuple[Prediction, ...], nothing: HeadValues) -> tuple[Prediction, ...]:
    """Return the predictions with their effects, from the scores [k] of what stands where pixels are hidden."""
    return tuple(replace(p, effect=p.score - n) for p, n in zip(predictions, nothing, strict=True))


class Reader:
    """The predictions and scores of every head."""

    def __init__(self, heads: tuple[Head, ...], measurement: Measurement, nothing: Logits) -> None:
        """Take the logits [f,c] of the pictures that stand where a pixel is hidden, ``nothing``.

        They are empty where each sample asks its own question of these pictures.
        """
        self.heads = heads
        self._measurement = measurement
        self._nothing = {name: values.astype(np.float64) for name, values in nothing.items()}
        self._column = {head.name: {name: i for i, name in enumerate(head.classes)} for head in heads}
        self._scores_of_nothing: dict[tuple[str, int], Float64] = {}

    def predictions(self, sample: Sample, clean: dict[str, Float64]) -> tuple[Prediction, ...]:
        """Compute one prediction for each head from the unmasked image's logits [c]."""
        return tuple(self._prediction(head, sample, clean[head.name]) for head in self.heads)

    def _prediction(self, head: Head, sample: Sample, logits: Float64) -> Prediction:
        classes = head.classes_of(sample)
        logits = logits[: len(classes)]
        best = int(np.argmax(logits))
        label = self.columns(head.name, sample)[sample.label]
        explained = label if self._measurement.explain == "label" else best
        clean = float(self._score(logits, explained))
        nothing = float(self._score_of_nothing(head.name, explained).mean()) if self._nothing else np.nan
        return Prediction(
            head=head.name,
            name=classes[best],
            probability=float(softmax(logits)[best]),
            correct=best == label,
            explained=classes[explained],
            score=clean,
            effect=clean - nothing if np.isfinite(clean - nothing) else None,
        )

    def column(self, prediction: Prediction, sample: Sample) -> int:
        """Return the index of the explained class in the logits of its head."""
        return self.columns(prediction.head, sample)[prediction.explained]

    def columns(self, head: str, sample: Sample) -> dict[str, int]:
        """Map the classes of a head to their indices in its logits of a sample."""
        if (known := self._column[head]) or sample.question is None:
            return known
        return {option: column for column, option in enumerate(sample.question.options)}

    def scores(
        self, prediction: Prediction, sample: Sample, logits: Annotated[Float64, "n c"]
    ) -> Annotated[Float64, "n"]:
        """Compute scores [n] of the explained class from the logits of its head; those behind its classes are void."""
        columns = self.columns(prediction.head, sample)
        return self._score(logits[:, : len(columns)], columns[prediction.explained])

    def scores_of_nothing(self, predictions: tuple[Prediction, ...], sample: Sample) -> Scores:
        """Return scores [k,f] of each head's explained class on what stands where pixels are hidden."""
        return np.stack([self._score_of_nothing(one.head, self.column(one, sample)) for one in predictions])

    def _score_of_nothing(self, head: str, column: int) -> Float64:
        """Compute the scores [f] of a class once, since every checkpoint of every sample of the class needs them."""
        if (head, column) not in self._scores_of_nothing:
            self._scores_of_nothing[head, column] = self._score(self._nothing[head], column)
        return self._scores_of_nothing[head, column]

    def _score(self, logits: Float64, column: int) -> Float64:
        return score(logits, column, self._measurement.score)
