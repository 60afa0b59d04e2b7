"""Swapping a region and its surroundings with other pictures: the two as players of a game.

With x the picture, R its region and b_1 .. b_n other pictures (the fills), a score f is asked for
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

from rate.types import Bool, Float64

NOISE_Z = 2.0
"""A player counts as more than noise when its value lies this many standard errors above zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Players:
    """Shapley values of region and rest after n fills, for each of k heads; NaN errors where n = 1."""

    region: Float64  # [k]
    rest: Float64  # [k]
    region_se: Float64  # [k] standard errors over the fills
    rest_se: Float64  # [k]
    share: Float64  # [k] in [0, 1]; NaN where neither value is positive
    share_se: Float64  # [k] by the delta method; 0 where one of the two values is not positive

    @property
    def has_evidence(self) -> Bool:
        """[k] whether one of the two players is above its own noise."""
        return np.asarray(
            (self.region > NOISE_Z * self.region_se) | (self.rest > NOISE_Z * self.rest_se), np.bool_
        ) & np.isfinite(self.share)


def players(whole: Float64, inside: Float64, outside: Float64, nothing: Float64) -> Players:
    """The two players' values from scores of each head's explained class.

    Args:
        whole: [k] score of the picture as it is.
        inside: [k,n] of the picture's region on each fill.
        outside: [k,n] of the picture with each fill in its region.
        nothing: [k,n] of each fill by itself.
    """
    regions, rests = _by_fill(whole, inside, outside, nothing)
    region, rest = regions.mean(axis=1), rests.mean(axis=1)
    total = np.maximum(region, 0.0) + np.maximum(rest, 0.0)
    share = np.divide(np.maximum(region, 0.0), total, out=np.full_like(total, np.nan), where=total > 0)
    both = (region > 0) & (rest > 0)
    # d share = (rest d region - region d rest) / total^2, and the fills are independent draws.
    moved = np.where(both, rest, 0.0)[:, None] * regions - np.where(both, region, 0.0)[:, None] * rests
    spread = _standard_error(moved)
    share_se = np.divide(spread, total**2, out=np.zeros_like(spread), where=both)
    return Players(region, rest, _standard_error(regions), _standard_error(rests), share, share_se)


def clearance(whole: Float64, inside: Float64, outside: Float64, nothing: Float64, tau: float) -> Float64:
    """[k] standard errors by which the region's share lies above ``tau``, signed; arguments as of `players`.

    The share is at least tau where ``(1 - tau) phi_region - tau phi_rest`` is not negative: a mean over the fills, so
    this is a paired t statistic. At tau 1/2 it is that of ``inside - outside``. Without spread it is infinite, or 0.
    """
    regions, rests = _by_fill(whole, inside, outside, nothing)
    margin = (1.0 - tau) * regions - tau * rests
    mean, error = margin.mean(axis=1), _standard_error(margin)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = mean / error
    return np.asarray(np.where(mean == 0.0, 0.0, found))


def kept(predictions: Float64, prediction: int) -> float:
    """Share of the fills under which the prediction stays; ``predictions``: [n,c] logits, ``prediction``: a column."""
    return float((predictions.argmax(axis=1) == prediction).mean())


def _by_fill(whole: Float64, inside: Float64, outside: Float64, nothing: Float64) -> tuple[Float64, Float64]:
    """[k,n] the value of region and of rest under each fill alone."""
    whole = whole[:, None]
    return (whole - outside + inside - nothing) / 2, (whole - inside + outside - nothing) / 2


def _standard_error(values: Float64) -> Float64:
    """[k] standard error of the mean of [k,n]; NaN for a single value."""
    count = values.shape[1]
    if count < 2:
        return np.full(len(values), np.nan)
    return np.asarray(values.std(axis=1, ddof=1) / np.sqrt(count))
