"""The proof that a graph on a runtime computes what the source computes, on the artifact's own sample.

f32 is judged by the size of its differences. A lower precision is judged by what they do to a run, and by the same
limits whichever it is: the error of the scores against the spread that perturbations of one picture give them, from
which verdicts are made, and the predictions and verdicts that are clear in f32 and differ. A distance of whole rows of
logits, such as their cosine, says little: the logits of a zero-shot head differ by little on a large constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rate.artifacts.parity_sample import PICTURES, ParitySample
from rate.artifacts.records import Parity
from rate.backends.base import Backend, BackendSpec
from rate.errors import ParityError
from rate.kernels.saliency import RESOLUTION
from rate.types import INSIDE, OUTSIDE, Float32, Float64, Int64

TOLERANCE = 1e-4
"""The largest accepted difference of an f32 logit, as a share of the largest logit if that is above 1.

The logits of a trained CLIP are cosines times 100, and so are their rounding errors.
"""

ERROR = 0.25
"""The largest accepted error of the scores below f32, as a share of their spread.

Scores with such an error have a correlation of 0.97 with those in f32. `benchmarks/precision.py` has the errors of
towers whose verdicts do not change.
"""


def problems(parity: Parity) -> list[str]:
    """List the violations of parity, one sentence each."""
    if parity.precision == "f32":
        return [
            f"logits_{head} differ by up to {value:.2e}, allowed is {parity.allowed[head]:.3g}"
            for head, value in parity.max_abs.items()
            if not value <= parity.allowed[head]
        ]
    failed = [
        f"the scores of {head} have an error of {value:.3g} of their spread under masks, allowed is {ERROR:g}"
        for head, value in parity.error.items()
        if not value <= ERROR
    ]
    for what, counts in (("predictions", parity.predictions), ("verdicts", parity.verdicts)):
        failed += [f"{count} clear {what} of {head} differ" for head, count in counts.items() if count]
    return failed


def judge(sample: ParitySample, spec: BackendSpec, precision: str | None = None) -> Parity:
    """Run ``spec`` on the sample: unchanged, one row alone, and in other slots with another batch size.

    ``precision``: the precision whose limits apply; None = that of ``spec``.

    Raises:
        ParityError: it is too far from the source for its precision.
        BackendError: it failed.
    """
    parity = measure(sample, spec, precision)
    _refuse(parity, spec.name)
    return parity


def measure(sample: ParitySample, spec: BackendSpec, precision: str | None = None) -> Parity:
    """Do as `judge`, and refuse nothing."""
    images, count, spare = len(sample.pictures), len(sample.rows), 2
    references = _references(sample)
    with spec.open(sample.perturbation, images) as backend:
        sample.put(backend)
        measured = [
            _compared(backend, sample, references, rows, 0) for rows in (np.arange(count), np.arange(count)[-1:])
        ]
        backend.bind(sample.perturbation, images + spare)
        sample.put(backend, spare)
        measured.append(_compared(backend, sample, references, np.arange(count + 4) % count, spare))
        return _worst(measured, references, precision or spec.precision, backend)


def self_test(sample: ParitySample, backend: Backend) -> Parity:
    """Run an open ``backend``, bound to the masks of ``sample``, on the unchanged sample.

    Raises:
        ParityError: it is too far from the source for its precision.
        BackendError: it failed.
    """
    references = _references(sample)
    sample.put(backend)
    measured = _compared(backend, sample, references, np.arange(len(sample.rows)), 0)
    parity = _worst([measured], references, backend.precision, backend)
    _refuse(parity, backend.name)
    return parity


def tolerance(logits: Float32) -> float:
    """Compute the largest accepted difference of f32 logits [b,c]."""
    return TOLERANCE * float(np.abs(logits[np.isfinite(logits)]).max(initial=1.0))


def _refuse(parity: Parity, name: str) -> None:
    if wrong := problems(parity):
        raise ParityError(
            f"{name} in {parity.precision} does not reproduce the source model: {'; '.join(wrong)}; "
            "use another --backend or --precision, or report the model"
        )


@dataclass(frozen=True, slots=True)
class _Difference:
    """What differs between a head's logits and the source's on some rows."""

    max_abs: float
    error: float
    predictions: int
    verdicts: int


_NO_MATCH = _Difference(np.inf, np.inf, 0, 0)


class _Reference:
    """The source's logits of one head on a sample, and what is clear in them."""

    def __init__(self, sample: ParitySample, logits: Float32) -> None:
        self.logits = logits
        self._rows, self._exact = sample.rows, logits.astype(np.float64)
        with np.errstate(invalid="ignore"):  # logits that are not finite pass nowhere
            self._spreads = [_spread(scores, sample.rows.slot) for scores in _kinds(self._exact)]

    def compare(self, logits: Float32, chosen: Int64) -> _Difference:
        """Compare the logits [b,c] of the ``chosen`` rows."""
        ours, theirs = logits.astype(np.float64), self._exact[chosen]
        if ours.shape != theirs.shape or not (np.isfinite(ours) & np.isfinite(theirs)).all():
            return _NO_MATCH
        # The error of one row scatters, so fewer rows than pictures count as that many.
        rows = max(len(chosen), PICTURES)
        differences = _kinds(ours - theirs)
        errors = [float(np.sqrt((one**2).sum() / (rows * one.shape[1]))) for one in differences]
        clear = self._clear_predictions[chosen]
        return _Difference(
            max_abs=float(np.abs(ours - theirs).max()),
            error=max(error / spread for error, spread in zip(errors, self._spreads, strict=True)),
            predictions=int((ours.argmax(axis=1) != theirs.argmax(axis=1))[clear].sum()),
            verdicts=self._verdicts_that_differ(ours, chosen),
        )

    @cached_property
    def _clear_predictions(self) -> np.ndarray:
        """Whether the first class of each row [b] leads the second one by more than the spread."""
        if self._exact.shape[1] == 1:
            return np.zeros(len(self._exact), np.bool_)
        ordered = np.sort(self._exact, axis=1)
        return np.asarray(ordered[:, -1] - ordered[:, -2] > self._spreads[-1])

    @cached_property
    def _clear_verdicts(self) -> list[tuple[Int64, Int64, int, float]]:
        """Of each picture: its rows that keep the region, and the rest, the explained class, and how far they differ.

        The class is that which is predicted of the unmasked picture. At tau 1/2 a swap is valid where the score of the
        region on other pictures is the higher one; that is clear where it is so by more than the spread.
        """
        rows, scores = self._rows, _kinds(self._exact)[-1]
        clear = []
        for picture in np.unique(rows.slot):
            own = np.flatnonzero(rows.slot == picture)
            inside, outside = own[rows.side[own] == INSIDE], own[rows.side[own] == OUTSIDE]
            if not (len(inside) and len(outside)):
                continue
            column = int(self._exact[own[0]].argmax())
            lead = float(scores[inside, column].mean() - scores[outside, column].mean())
            if abs(lead) > self._spreads[-1]:
                clear.append((inside, outside, column, lead))
        return clear

    def _verdicts_that_differ(self, logits: Float64, chosen: Int64) -> int:
        """Count the clear verdicts that differ, if the sample's rows are among the ``chosen`` ones."""
        if len(chosen) < len(self._exact):
            return 0
        scores = _kinds(logits[: len(self._exact)])[-1]
        return sum(
            bool(scores[inside, column].mean() >= scores[outside, column].mean()) != (lead >= 0)
            for inside, outside, column, lead in self._clear_verdicts
        )


def _kinds(logits: Float64) -> list[Float64]:
    """Return the scores [b,c] of every class: the logits, and, if there are several classes, the centred logits."""
    centred = [logits - logits.mean(axis=1, keepdims=True)] if logits.shape[1] > 1 else []
    return [logits, *centred]


def _spread(scores: Float64, pictures: Int64) -> float:
    """Compute the root mean square of the scores [b,c] about the mean of the same picture and class.

    It is at least what rounding to f32 can give.
    """
    squares = [((own - own.mean(axis=0)) ** 2).sum() for own in (scores[pictures == k] for k in np.unique(pictures))]
    return max(float(np.sqrt(sum(squares) / scores.size)), RESOLUTION * max(1.0, float(np.abs(scores).max())))


def _references(sample: ParitySample) -> dict[str, _Reference]:
    return {head: _Reference(sample, logits) for head, logits in sample.logits.items()}


def _compared(
    backend: Backend, sample: ParitySample, references: dict[str, _Reference], chosen: Int64, shift: int
) -> dict[str, _Difference]:
    logits = backend.submit(sample.rows[chosen].shifted(shift)).wait()
    return {head: reference.compare(logits[head], chosen) for head, reference in references.items()}


def _worst(
    measured: list[dict[str, _Difference]], references: dict[str, _Reference], precision: str, backend: Backend
) -> Parity:
    def of(head: str) -> Iterator[_Difference]:
        return (one[head] for one in measured)

    return Parity(
        max_abs={head: max(one.max_abs for one in of(head)) for head in references},
        allowed={head: tolerance(reference.logits) for head, reference in references.items()},
        error={head: max(one.error for one in of(head)) for head in references},
        predictions={head: max(one.predictions for one in of(head)) for head in references},
        verdicts={head: max(one.verdicts for one in of(head)) for head in references},
        precision=precision,
        runtime=f"{backend.name} {backend.version}",
    )
