"""Folds (plan, logits) into verdicts. It keeps one number for each mask and head, never a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from rate.backends.base import Logits
from rate.engine.outcome import Outcome
from rate.engine.schedule import CLEAN_ROWS, BatchPlan
from rate.engine.verdicts.prediction import Prediction, Reader
from rate.engine.verdicts.stopping import Stopping
from rate.engine.verdicts.verdict import Answers, PerturbedSample, Verdict
from rate.errors import SampleError
from rate.types import Bool, Float32, Float64, Int64


@dataclass(frozen=True, slots=True, eq=False)
class HeadLogits:
    """The logits of one head on the rows of a batch; a row that is not finite is zeros.

    Rows may lie beyond the checkpoint that settles their sample, so only a checkpoint may report non-finite logits.
    """

    logits: Annotated[Float64, "n c"]
    finite: Annotated[Bool, "n"]
    predicted: Annotated[Int64, "n"]  # index of the predicted class

    @classmethod
    def of(cls, values: Annotated[Float32, "n c"]) -> HeadLogits:
        """Take the logits of a whole batch, which costs less than one sample's after the other."""
        finite: Bool = np.asarray(np.isfinite(values).all(axis=1))
        logits = values.astype(np.float64)
        logits[~finite] = 0.0
        return cls(logits, finite, logits.argmax(axis=1))


class Estimator:
    """Turns rows into verdicts. A verdict depends on its sample's rows alone, in the order of its masks."""

    def __init__(self, reader: Reader, stopping: Stopping) -> None:
        self._reader, self._stopping = reader, stopping
        self._open: dict[int, _Open] = {}

    @property
    def first_rows(self) -> int:
        """The rows of a sample until its first checkpoint, clean row included."""
        return CLEAN_ROWS + self._stopping.checkpoints[0]

    @property
    def most_rows(self) -> int:
        """The rows of a sample whose verdict never becomes clear."""
        return CLEAN_ROWS + self._stopping.most

    def begin(self, ticket: int, perturbed: PerturbedSample) -> None:
        """Expect the rows of ``perturbed`` under ``ticket``."""
        heads = len(self._reader.heads)
        shape = (heads, self._stopping.most)
        answers = Answers(np.empty(shape), np.empty(shape, np.int64))
        self._open[ticket] = _Open(perturbed, answers, np.empty(shape, np.bool_), [None] * heads)

    def sample(self, ticket: int) -> PerturbedSample:
        """Return a sample whose rows are expected."""
        return self._open[ticket].perturbed

    def fold(self, plan: BatchPlan, logits: Logits) -> tuple[dict[int, Outcome], dict[int, int]]:
        """Fold the logits of a batch.

        Returns:
            Maps of tickets: to the outcomes of the samples that are settled, and to the rows that others need until
            their next checkpoint, all before included.
        """
        settled: dict[int, Outcome] = {}
        wanted: dict[int, int] = {}
        batch, at = {name: HeadLogits.of(values) for name, values in logits.items()}, 0
        for span in plan.spans:
            rows, at = slice(at, at + len(span)), at + len(span)
            sample = self._open.get(span.ticket)
            if sample is None:  # the sample is settled or failed; its other rows are ignored
                continue
            verdicts: tuple[Verdict, ...] = ()
            error = None
            try:
                self._take(sample, span.start, batch, rows)
                verdicts = self._settle(sample)
            except SampleError as raised:
                error = str(raised)
            if error is None and not verdicts:
                wanted[span.ticket] = CLEAN_ROWS + self._stopping.checkpoints[sample.passed]
                continue
            prepared = self._open.pop(span.ticket).perturbed.prepared
            settled[span.ticket] = Outcome(prepared.sample, verdicts, error, prepared.shuffled)
        return settled, wanted

    def _take(self, sample: _Open, start: int, batch: dict[str, HeadLogits], rows: slice) -> None:
        """Take the answers in ``rows`` of a batch, which are the sample's rows from ``start`` on."""
        asked = sample.perturbed.prepared.sample
        if start == 0:
            for name, values in batch.items():
                _check_finite(name, values.finite[rows.start])
            clean = {name: values.logits[rows.start] for name, values in batch.items()}
            sample.predictions = self._reader.predictions(asked, clean)
            rows = slice(rows.start + CLEAN_ROWS, rows.stop)
        first = max(start - CLEAN_ROWS, 0)
        part = slice(first, first + rows.stop - rows.start)
        for k, prediction in enumerate(sample.predictions):
            values = batch[prediction.head]
            sample.answers.scores[k, part] = self._reader.scores(prediction, asked, values.logits[rows])
            sample.answers.predicted[k, part] = values.predicted[rows]
            sample.finite[k, part] = values.finite[rows]
        sample.masks = part.stop

    def _settle(self, sample: _Open) -> tuple[Verdict, ...]:
        """Collect the verdicts that are clear at the checkpoints that the sample's masks have reached.

        Returns:
            The verdicts of all heads; none while one of them is not clear.
        """
        checkpoints = self._stopping.checkpoints
        while (
            sample.passed < len(checkpoints) and checkpoints[sample.passed] <= sample.masks and None in sample.verdicts
        ):
            masks = checkpoints[sample.passed]
            sample.passed += 1
            open_heads = [k for k, verdict in enumerate(sample.verdicts) if verdict is None]
            predictions = tuple(sample.predictions[k] for k in open_heads)
            for k, prediction in zip(open_heads, predictions, strict=True):
                _check_finite(prediction.head, sample.finite[k, :masks])
            answers = sample.answers.of(open_heads, masks)
            evidence = sample.perturbed.evidence(predictions, answers)
            early = self._stopping.boundary is not None
            clearance = evidence.clearance if early else [None] * len(open_heads)
            for at, k in enumerate(open_heads):
                if (settled := self._stopping.settled(masks, clearance[at])) is not None:
                    sample.verdicts[k] = evidence.verdict(at, settled)
        verdicts = tuple(verdict for verdict in sample.verdicts if verdict is not None)
        return verdicts if len(verdicts) == len(sample.verdicts) else ()


def _check_finite(head: str, finite: Bool) -> None:
    if not finite.all():
        raise SampleError(f"the logits of head {head!r} are not finite (NaN or infinity)")


@dataclass(slots=True, eq=False)
class _Open:
    """A sample whose rows are not complete."""

    perturbed: PerturbedSample
    answers: Answers  # to as many rows as the sample may need
    finite: Bool  # [k,n] whether all logits of that head and mask are finite
    verdicts: list[Verdict | None]  # one for each head
    predictions: tuple[Prediction, ...] = ()
    masks: int = 0  # number of folded masks
    passed: int = 0  # number of passed checkpoints
