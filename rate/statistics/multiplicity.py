"""Many tests at once: p values of shares, and Holm's correction.

With an interval for each of many slices, some exclude a true value by chance. Holm's step-down procedure keeps the
probability that any does at the level of one test, whatever the tests share (Holm, "A simple sequentially rejective
multiple test procedure", Scandinavian Journal of Statistics 6, 1979).
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from rate.statistics.intervals import Spread, student_tail
from rate.types import Float64

PValues = Annotated[Float64, "tests"]


def holm(p: PValues) -> PValues:
    """Adjust p values in [0, 1], so that each may be held against the level of all tests together.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def chance_below(share: float, samples: int, limit: float, spread: Spread | None = None) -> float:
    """Compute the probability that ``share`` or less is seen where ``limit`` is true, by the score test.

    Twice this is below 0.05 exactly where the interval of `rate.statistics.metrics.Ratio` lies below ``limit``. The
    probability of ``share`` or more is that of ``1 - share`` below ``1 - limit``.

    >>> round(chance_below(0.4, 100, 0.5), 4)
    0.0228

    Args:
        share: the share that was measured, in [0, 1].
        samples: its denominator, at least 1.
        limit: the share that it is held against, in (0, 1).
        spread: of the clusters of the samples; None = they are independent.
    """
    effect = 1.0 if spread is None else spread.design_effect
    z = (share - limit) / math.sqrt(limit * (1.0 - limit) * effect / samples)
    if spread is None or math.isinf(spread.freedom):
        return 0.5 * math.erfc(-z / math.sqrt(2.0))
    tail = student_tail(abs(z), spread.freedom)
    return tail if z < 0.0 else 1.0 - tail
