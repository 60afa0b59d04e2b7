"""How well numbers rank models by their true reliance on the object, with intervals over encoders, and a figure of it.

Methods of one encoder are not independent, so an interval at 95 % is between percentiles over encoders drawn with
replacement: every model counts as often as its encoder was drawn, and a model makes no pair with itself. Fewer than
`FEWEST` encoders have no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.metric_values import METRICS, Metric, mean
from rate.types import Bool, Float64, Int64

ENCODER = ("tower", "shortcut", "rho", "seed")
GROUPS = ("tower", "shortcut")
APART = 0.1
"""Models whose truths differ by more than this have an order that a number should find."""

FEWEST = 5

DRAWS = 2000
Row = dict[str, Any]
Figures = dict[str, Any]


def judged(rows: list[Row], names: list[str], truth: str) -> list[Figures]:
    """The figures of every number over the models that have it, all, of a tower, of a shortcut; the best first.

    A number that is the same for all models ranks none, and has no rank correlation. ``behind`` is the difference of a
    rank correlation from that of the best number which all models have. ``truth`` is a column.
    """
    found = by_rank([_of_groups(name, rows, truth) for name in names])
    best = next(one["metric"] for one in found if one["all"]["models"] == len(rows))
    for one in found:
        own = [row for row in rows if row.get(one["metric"]) is not None]
        first, second = (_rank_correlation(name, own, truth) for name in (one["metric"], best))
        one["behind"] = _interval(first - second, _encoders(own))
    return found


def by_rank(found: list[Figures]) -> list[Figures]:
    """The best first, and last what ranks nothing."""
    return sorted(found, key=lambda one: -(one["all"]["spearman"] or [-2])[0])


def _of_groups(name: str, rows: list[Row], truth: str) -> Figures:
    metric = METRICS.get(name) or Metric(name, "unknown")
    known = [row for row in rows if row.get(name) is not None]
    found: Figures = {"metric": name, "title": metric.title, "forwards": _forwards(metric, known)}
    found["all"] = agreement(name, known, truth)
    for column in GROUPS:
        for value in sorted({row[column] for row in known}):
            found[value] = agreement(name, [row for row in known if row[column] == value], truth)
    return found


def _rank_correlation(name: str, rows: list[Row], truth: str) -> Float64:
    return spearman(_column(name, rows), _column(truth, rows), _draws(rows))


def _forwards(metric: Metric, rows: list[Row]) -> float | None:
    """Forwards a picture, the mean over the models; None of a number that was added."""
    if metric.instrument == "clean":
        return 1
    column = f"forwards_{metric.instrument}"
    taken = mean(row[column] for row in rows if row.get(column) is not None)
    return None if taken is None else round(taken + metric.more, 1)


def _column(name: str, rows: list[Row]) -> Float64:
    """[n] the values of a number, turned so that a larger one stands for more reliance on the object."""
    falls = name in METRICS and METRICS[name].falls
    return np.array([row[name] for row in rows], np.float64) * (-1 if falls else 1)


def _encoders(rows: list[Row]) -> Int64:
    """[n] the number of each model's encoder."""
    return np.unique([str([row[one] for one in ENCODER]) for row in rows], return_inverse=True)[1]


def _draws(rows: list[Row]) -> Float64:
    """[1 + draws, n] how often each model is drawn; once in the first row."""
    encoders = _encoders(rows)
    count = int(encoders.max()) + 1
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)
    return np.concatenate([np.ones((1, len(rows))), drawn[:, encoders]])


def agreement(name: str, rows: list[Row], truth: str = "true_share") -> Figures:
    """Rank correlations of a number with the truth, and the share of pairs of models that it orders rightly.

    Every figure is [value, low, high], None where it has no value; a tie of a pair counts half.
    """
    values, true, weights, encoders = _column(name, rows), _column(truth, rows), _draws(rows), _encoders(rows)
    apart = true[:, None] - true > APART
    within = apart & (encoders[:, None] == encoders)
    found = {
        "spearman": spearman(values, true, weights),
        "kendall": kendall(values, true, weights),
        "spearman_pt": _rank_correlation(name, rows, "true_pt"),
        "pairs_right": ordered(values, apart, weights),
        "pairs_within_encoder_right": ordered(values, within, weights),
    }
    counts = {"models": len(rows), "pairs": int(apart.sum()), "pairs_within_encoder": int(within.sum())}
    return counts | {figure: _interval(one, encoders) for figure, one in found.items()}


def _interval(found: Float64, encoders: Int64) -> list[float | None] | None:
    """The first value with the percentiles of the others; None without a value."""
    if not np.isfinite(found[0]):
        return None
    drawn = found[1:][np.isfinite(found[1:])]
    ends = np.percentile(drawn, (2.5, 97.5)) if encoders.max() + 1 >= FEWEST else (None, None)
    return [None if one is None else round(float(one), 3) for one in (found[0], *ends)]


def spearman(values: Float64, truth: Float64, weights: Float64) -> Float64:
    """[d] rank correlations of n models, each of which is there ``weights`` [d,n] times.

    >>> spearman(np.array([1.0, 2.0, 4.0]), np.array([0.1, 0.3, 0.2]), np.ones((1, 3)))
    array([0.5])
    """
    ranks = [weights @ ((one > one[:, None]) + 0.5 * (one == one[:, None])) for one in (values, truth)]
    total = weights.sum(axis=1, keepdims=True)
    a, b = (one - (weights * one).sum(axis=1, keepdims=True) / total for one in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (weights * a * b).sum(axis=1) / np.sqrt((weights * a**2).sum(axis=1) * (weights * b**2).sum(axis=1))
    return np.asarray(found)


def kendall(values: Float64, truth: Float64, weights: Float64) -> Float64:
    """[d] Kendall's tau-b of n models, each of which is there ``weights`` [d,n] times.

    >>> kendall(np.array([1.0, 2.0, 4.0]), np.array([0.1, 0.3, 0.2]), np.ones((1, 3))).round(3)
    array([0.333])
    """
    a, b = (np.sign(one[:, None] - one) for one in (values, truth))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(_pairs(weights, a * b) / np.sqrt(_pairs(weights, a**2) * _pairs(weights, b**2)))


def ordered(values: Float64, pairs: Bool, weights: Float64) -> Float64:
    """[d] share of ``pairs`` [n,n], whose first model is truly above the second, that ``values`` order so.

    >>> ordered(np.array([3.0, 1.0, 1.0]), np.tri(3, k=-1).T > 0, np.ones((1, 3))).round(3)
    array([0.833])
    """
    right = (values[:, None] > values) + 0.5 * (values[:, None] == values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(_pairs(weights, right * pairs) / _pairs(weights, pairs.astype(np.float64)))


def _pairs(weights: Float64, of_pairs: Float64) -> Float64:
    """[d] the sum of [n,n] over pairs of models drawn."""
    return np.asarray(((weights @ of_pairs) * weights).sum(axis=1))


def draw(rows: list[Row], found: list[Figures], shown: Sequence[str], truth: str, path: Path) -> None:
    """Draw the rank correlations with their intervals, and four numbers against the truth, into an SVG file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    ranked = [one for one in reversed(found) if one["all"]["spearman"] is not None]
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "rate", "font.size": 9, "font.family": "sans-serif"}):
        figure = Figure(figsize=(11, max(5.0, 1 + 0.2 * len(ranked))), layout="constrained")
        grid = figure.add_gridspec(2, 4)
        forest = figure.add_subplot(grid[:, :2])
        for place, one in enumerate(ranked):
            value, *ends = one["all"]["spearman"]
            colour = _colour(one["metric"])
            if None not in ends:
                forest.plot(ends, [place, place], color=colour, linewidth=1.5)
            forest.plot([value], [place], "o", color=colour, markersize=4)
        forest.set_yticks(range(len(ranked)), [one["title"] for one in ranked])
        forest.set_xlabel(f"rank correlation with the {_said(truth)}")
        forest.axvline(0, color="0.6", linewidth=0.8)
        for number, name in enumerate(shown):
            axes = figure.add_subplot(grid[number // 2, 2 + number % 2])
            for tower, mark in zip(sorted({row["tower"] for row in rows}), "o^", strict=False):
                own = [row for row in rows if row["tower"] == tower and row.get(name) is not None]
                x, y = ([row[one] for row in own] for one in (truth, name))
                axes.plot(x, y, mark, color=_colour(name), alpha=0.6, markersize=4, label=tower)
            axes.set_title(METRICS[name].title if name in METRICS else name, fontsize=9)
            axes.set_xlabel(_said(truth))
            if number == 0:
                axes.legend(frameon=False, fontsize=8)
        figure.savefig(path, metadata={"Date": None})


def _said(truth: str) -> str:
    return {"true_pt": "true PT", "true_share": "true share"}[truth]


def _colour(name: str) -> str:
    """The colour of what a number is read from."""
    instrument = METRICS[name].instrument if name in METRICS else name.split()[0]
    return {"clean": "#444444", "swap": "#0b6e4f", "mean": "#7a4fa3"}.get(instrument, "#b5541c")
