"""The score of a class: what a perturbed image is asked for.

A logit is no function of the predictions: one number added to all logits changes no probability. The centred logit, the
log-odds and the probability do not change with it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from rate.types import Float64

SCORES = ("logit", "centred", "log-odds", "probability")
"""The kinds of score."""


def score(logits: Annotated[Float64, "... c"], column: int, kind: str) -> Annotated[Float64, "..."]:
    """Compute the score of the class at ``column``.

    >>> logits = np.array([2.0, 0.0, 1.0])
    >>> score(logits, 0, "centred").round(3), score(logits, 0, "log-odds").round(3)
    (np.float64(1.0), np.float64(0.687))

    Args:
        logits: the logits of all classes.
        column: the class.
        kind: ``logit``; ``centred``: the logit less the mean over the classes; ``log-odds``: the logit less the
            log-sum-exp of the others; ``probability``: of the softmax.
    """
    own = logits[..., column]
    if kind == "logit":
        return np.asarray(own)
    if kind == "centred":
        return np.asarray(own - logits.mean(axis=-1))
    if kind == "probability":
        return np.asarray(softmax(logits)[..., column])
    others = np.delete(logits, column, axis=-1)
    highest = others.max(axis=-1, initial=-np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):  # a single class has no others, and infinite odds
        return np.asarray(own - highest - np.log(np.exp(others - highest[..., None]).sum(axis=-1)))


def softmax(logits: Annotated[Float64, "... c"]) -> Annotated[Float64, "... c"]:
    """Compute the softmax over the classes.

    >>> softmax(np.zeros(2))
    array([0.5, 0.5])
    """
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
