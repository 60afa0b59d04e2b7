"""Shapley values of a region and its surroundings, from pictures in which one of them is swapped.

With x the picture, R its region and b_1 .. b_n other pictures (the fills), a model scores
``inside_k = f(x inside R, b_k outside)``, ``outside_k = f(b_k inside R, x outside)``, ``whole = f(x)`` and
``nothing_k = f(b_k)``. The Shapley values of region and rest under this interventional baseline (Lundberg and Lee
2017; Janzing, Minorics, Bloebaum 2020) are, with a bar for the mean over the fills::

    phi_region = ((whole - outside) + (inside - nothing)) / 2
    phi_rest   = ((whole - inside) + (outside - nothing)) / 2

They add up to ``whole - nothing``. The share is ``phi_region+ / (phi_region+ + phi_rest+)``, x+ = max(0, x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rate.kernels.saliency import RESOLUTION
from rate.types import HeadFlags, HeadValues, Scores

ROWS_PER_FILL = 2
"""A fill takes two forwards: the region on it, then it in the region."""

ROWS_WHEN_ASKED = 3
"""Where each sample asks its own question, a third one asks it of the fill by itself."""

NOISE_Z = 2.0
"""A Shapley value counts as signal when it lies this many standard errors above zero."""


@dataclass(frozen=True, slots=True, eq=False)
class ShapleyValues:
    """The Shapley values of region and rest over n fills; with one fill all standard errors are NaN."""

    region: HeadValues
    rest: HeadValues
    region_se: HeadValues  # standard errors over the fills
    rest_se: HeadValues
    share: HeadValues  # in [0, 1]; NaN where neither value is positive
    share_se: HeadValues  # by the delta method; 0 where one of the two values is not positive
    rounding: HeadValues  # the size of values that float32 rounding of the scores alone can have

    @property
    def has_evidence(self) -> HeadFlags:
        """Whether one of the two values is above its own noise."""
        values, errors = np.stack([self.region, self.rest]), np.stack([self.region_se, self.rest_se])
        above = (values > NOISE_Z * errors) & (values > self.rounding)
        return np.asarray(above.any(axis=0) & np.isfinite(self.share), np.bool_)


def shapley_values(whole: HeadValues, inside: Scores, outside: Scores, nothing: Scores) -> ShapleyValues:
    """Compute the values of region and rest from the scores of each head's explained class.

    >>> values = shapley_values(np.array([1.0]), np.array([[0.75]]), np.array([[0.25]]), np.array([[0.0]]))
    >>> values.region, values.rest, values.share
    (array([0.75]), array([0.25]), array([0.75]))

    Args:
        whole: the score of the picture.
        inside: the score of the picture's region on each fill.
        outside: the score of the picture with each fill in its region.
        nothing: the score of each fill by itself.
    """
    regions, rests = _by_fill(whole, inside, outside, nothing)
    region, rest = regions.mean(axis=1), rests.mean(axis=1)
    total = np.maximum(region, 0.0) + np.maximum(rest, 0.0)
    share = np.divide(np.maximum(region, 0.0), total, out=np.full_like(total, np.nan), where=total > 0)
    both = (region > 0) & (rest > 0)
    # d share = (rest d region - region d rest) / total^2, and the fills are independent draws.
    change = np.where(both, rest, 0.0)[:, None] * regions - np.where(both, region, 0.0)[:, None] * rests
    spread = _standard_error(change)
    share_se = np.divide(spread, total**2, out=np.zeros_like(spread), where=both)
    largest = np.maximum(np.abs(whole), np.abs(np.concatenate([inside, outside, nothing], axis=1)).max(axis=1))
    errors = _standard_error(regions), _standard_error(rests)
    return ShapleyValues(region, rest, *errors, share, share_se, RESOLUTION * largest)


def clearance(whole: HeadValues, inside: Scores, outside: Scores, nothing: Scores, tau: float) -> HeadValues:
    """Count the signed standard errors by which the region's share lies above ``tau``; see `shapley_values`.

    The share is at least tau where ``(1 - tau) phi_region - tau phi_rest`` is not negative. That is a mean over the
    fills, so this is a paired t statistic; at tau 1/2 it is that of ``inside - outside``. Without spread it is
    infinite, or 0.

    >>> clearance(np.ones(1), np.array([[0.6, 0.8]]), np.array([[0.4, 0.4]]), np.zeros((1, 2)), tau=0.5).round(6)
    array([3.])
    """
    regions, rests = _by_fill(whole, inside, outside, nothing)
    margin = (1.0 - tau) * regions - tau * rests
    mean, error = margin.mean(axis=1), _standard_error(margin)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = mean / error
    return np.asarray(np.where(mean == 0.0, 0.0, statistic))


def _by_fill(whole: HeadValues, inside: Scores, outside: Scores, nothing: Scores) -> tuple[Scores, Scores]:
    """Compute the values of region and rest under each fill alone."""
    whole = whole[:, None]
    return (whole - outside + inside - nothing) / 2, (whole - inside + outside - nothing) / 2


def _standard_error(values: Scores) -> HeadValues:
    """Estimate the standard error of the mean over the fills; NaN for a single fill."""
    count = values.shape[1]
    if count < 2:
        return np.full(len(values), np.nan)
    return np.asarray(values.std(axis=1, ddof=1) / np.sqrt(count))
