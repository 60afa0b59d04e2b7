"""Which instrument finds a model's true share of object and scene? Every one against rendered truth.

Dual encoders (ResNet, ViT) rest on object and scene in every proportion: pre-trained, then adapted by LP, FT, FLCP
where a shortcut (scene, tag) is right in half, 70 % or 90 % of the pictures. The truth of a picture is the share of
`rate.data.make.graded`, of the same score. Judged on right predictions: rank correlation, mean absolute error, equal
verdicts at one half, PT measured against PT true.

    python -m benchmarks.graded [--work build/graded] [--pictures 300] [--maps 100] [--towers resnet vit]
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks import graded_models, record
from benchmarks.graded_scores import FEW, FILLS, FORMS, METHOD, Pictures, Scores, read
from rate.kernels.rise import centre_levels
from rate.kernels.saliency import evidence
from rate.kernels.swap import shapley_values
from rate.metrics import relevance_mass
from rate.types import Bool, Float32, Float64, Int64

SCORES = ("logit", "centred", "log-odds", "probability")
COUNTS = (4, 8, 16, FILLS)
SWAPS = [
    *(("box", "pictures", count) for count in COUNTS),
    *((form, "pictures", FEW) for form in FORMS if form != "box"),
    ("box", "own class too", FEW),
    ("box", "mean", 1),
    ("box", "own", 1),
]
MAP_FILLS = ("mean", "own", "pictures")
MAP_KINDS = ("today", "constant", "constant, Shapley")


def main() -> None:
    """Judge every instrument on every model, and record the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/graded"))
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--maps", type=int, default=100, help="pictures that maps are drawn of: they cost 512 forwards")
    parser.add_argument("--towers", nargs="+", default=list(graded_models.TOWERS))
    parser.add_argument("--shortcuts", nargs="+", default=list(graded_models.SHORTCUTS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for tower in arguments.towers:
        for shortcut in arguments.shortcuts:
            for rho in graded_models.RHOS:
                rows += _study(arguments, tower, shortcut, rho)
    with (record.RESULTS / "graded.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    record.write("graded", {"pictures": arguments.pictures, "maps": arguments.maps, "instruments": summary(rows)})


def _study(arguments: argparse.Namespace, tower: str, shortcut: str, rho: float) -> Iterator[dict[str, Any]]:
    folder = graded_models.data(arguments.work, shortcut, rho, 0, arguments.pictures, 300 + arguments.seed)
    pictures = read(folder, arguments.pictures)
    models = graded_models.adapted(arguments.work, tower, shortcut, rho, arguments.seed)
    for method, (artifact, head) in models.items():
        name = f"{tower}-{shortcut}-{rho}-s{arguments.seed}-{artifact.path.name}"
        scores = Scores(artifact, pictures, arguments.work / "logits" / name)
        clean = scores.clean()[head].astype(np.float64)
        right = clean.argmax(axis=1) == pictures.labels
        about = {"tower": tower, "shortcut": shortcut, "rho": rho, "method": method, "accuracy": round(right.mean(), 4)}
        for score in SCORES:
            truth = _truth(scores, head, pictures, score)
            found = {**_swaps(scores, head, pictures, score), **_maps(scores, head, pictures, score, arguments.maps)}
            for instrument, (forwards, share) in found.items():
                chosen = right & np.isfinite(truth) & (np.arange(len(right)) < len(share))
                measured = np.full(len(right), np.nan)
                measured[: len(share)] = share
                yield {**about, "score": score, "instrument": instrument, "forwards": forwards} | judge(
                    measured[chosen], truth[chosen]
                )
        print(f"{tower} {shortcut} {rho} {method}: right {right.mean():.3f}", flush=True)


def score_of(logits: Float32, labels: Int64, score: str) -> Float64:
    """[...] score of each picture's class from logits [n,...,c]; ``labels`` [n]."""
    values = logits.astype(np.float64)
    own = np.take_along_axis(values, labels.reshape(-1, *[1] * (values.ndim - 1)), axis=-1)[..., 0]
    if score == "logit":
        return np.asarray(own)
    if score == "centred":
        return np.asarray(own - values.mean(axis=-1))
    others = np.exp(values - values.max(axis=-1, keepdims=True))
    mine = np.take_along_axis(others, labels.reshape(-1, *[1] * (values.ndim - 1)), axis=-1)[..., 0]
    rest = others.sum(axis=-1) - mine
    return np.asarray(mine / (mine + rest)) if score == "probability" else np.log(mine) - np.log(rest)


def _truth(scores: Scores, head: str, pictures: Pictures, score: str) -> Float64:
    """[n] the true share; NaN where neither object nor scene speaks for the class."""
    values = score_of(scores.renderings()[head], pictures.labels, score)
    parts = np.array(pictures.parts)
    f11, f10, f01, f00 = (values[:, parts == part] for part in ("f11", "f10", "f01", "f00"))
    return shapley_values(f11[:, 0], f10, f01, f00).share


def _swaps(scores: Scores, head: str, pictures: Pictures, score: str) -> dict[str, tuple[int, Float64]]:
    whole = score_of(scores.clean()[head], pictures.labels, score)
    found = {}
    for form, fill, count in SWAPS:
        longest = FILLS if (form, fill) == ("box", "pictures") else count
        both = score_of(scores.swaps(form, fill, longest)[head], pictures.labels, score)[:, :, :count]
        nothing = score_of(scores.nothing(fill, longest)[head], pictures.labels, score)[:, :count]
        found[f"swap {count}, {fill}, {form}"] = 2 * count, shapley_values(whole, both[:, 0], both[:, 1], nothing).share
    return found


def _maps(scores: Scores, head: str, pictures: Pictures, score: str, count: int) -> dict[str, tuple[int, Float64]]:
    """Localization of RISE maps of the first ``count`` pictures, on their boxes."""
    labels = pictures.labels[:count]
    clean = score_of(scores.clean()[head][:count], labels, score)
    found = {}
    for fill in MAP_FILLS:
        masked = score_of(scores.masked(fill, count)[head], labels, score)
        nothing = score_of(scores.nothing(fill, FEW)[head][:count], labels, score).mean(axis=1)
        for kind in MAP_KINDS:
            share = [
                _localization(kind, clean[k], nothing[k], masked[k], pictures.region("box", k) > 0.5, k)
                for k in range(count)
            ]
            found[f"map {METHOD.count}, {fill}, box, {kind}"] = METHOD.count, np.array(share)
    return found


def _localization(kind: str, clean: float, nothing: float, scores: Float64, region: Bool, k: int) -> float:
    """Localization of one map, as it is or repaired; clipped to [0, 1]."""
    masks = METHOD.draw(f"test/{k:06d}", 0, METHOD.count)
    shares = np.array(METHOD.shares)
    if kind == "today":
        maps = METHOD.maps(np.array([clean]), scores[None], masks)
        positive, bounds = evidence(maps, "positive")[0], METHOD.bounds(region)
        mass = relevance_mass(positive, region)
        return np.nan if mass is None else float(np.clip((mass - bounds.floor) / (bounds.ceiling - bounds.floor), 0, 1))
    weights = np.ones_like(shares) if kind == "constant" else 1 / (shares * (1 - shares))
    weights = weights / weights.mean()
    centred = centre_levels(scores[None], masks.level) * weights[masks.level]
    signal = METHOD.maps(np.array([clean]), centred, masks).signal[0]
    cells = METHOD.side**2
    # With a fixed number of cells the masks' covariance has no constant part: the effect of the whole picture has it.
    spread = float((weights * shares * (1 - shares)).mean()) * cells / (cells - 1)
    positive = np.maximum(signal + spread * (clean - nothing) / cells, 0.0)
    if not positive.any():
        return np.nan
    mass = positive[region].sum() / positive.sum()
    ceiling, floor = (_reference(seen, region) for seen in (region, ~region))
    return float(np.clip((mass - floor) / (ceiling - floor), 0, 1))


def _reference(seen: Bool, region: Bool) -> float:
    """Mass in the region of the map of a model whose score is the visible part of ``seen``."""
    kernel = METHOD._moments.kernel
    observed = kernel @ seen.astype(np.float64) @ kernel
    return float(observed[region].sum() / observed.sum())


def judge(measured: Float64, truth: Float64) -> dict[str, Any]:
    """How well measured shares follow true ones, pictures without a measured share left out of all but their count."""
    known = np.isfinite(measured)
    undefined, measured, truth = int((~known).sum()), measured[known], truth[known]
    if len(measured) < 10:
        return {"n": len(measured), "undefined": undefined} | dict.fromkeys(
            ("rank", "error", "equal", "pt", "pt_true"), None
        )
    ranks = [rankdata(values) for values in (measured, truth)]
    rank = np.corrcoef(*ranks)[0, 1] if min(np.ptp(one) for one in ranks) > 0 else np.nan
    return {
        "n": len(measured),
        "undefined": undefined,
        "rank": _rounded(rank),
        "error": _rounded(np.abs(measured - truth).mean()),
        "equal": _rounded(((measured >= 0.5) == (truth >= 0.5)).mean()),
        "pt": _rounded((measured >= 0.5).mean()),
        "pt_true": _rounded((truth >= 0.5).mean()),
    }


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row an instrument and score: means over the models, the spread over them, and an interval of the mean."""
    found = []
    for key in dict.fromkeys((row["instrument"], row["score"]) for row in rows):
        own = [row for row in rows if (row["instrument"], row["score"]) == key and row["equal"] is not None]
        gaps = [abs(row["pt"] - row["pt_true"]) for row in own]
        figures: dict[str, Any] = {"instrument": key[0], "score": key[1], "models": len(own)}
        figures["forwards"] = own[0]["forwards"] if own else None
        for name, values in (
            ("rank", [row["rank"] for row in own if row["rank"] is not None]),
            ("error", [row["error"] for row in own]),
            ("equal", [row["equal"] for row in own]),
            ("pt_gap", gaps),
        ):
            if len(values) > 1:
                half = 1.96 * np.std(values, ddof=1) / len(values) ** 0.5
                figures[name] = [
                    round(float(v), 4) for v in (np.mean(values), np.mean(values) - half, np.mean(values) + half)
                ]
                figures[f"{name}_worst"] = round(float(min(values) if name in ("rank", "equal") else max(values)), 4)
        found.append(figures)
    return sorted(found, key=lambda row: -(row.get("equal") or [0])[0])


if __name__ == "__main__":
    main()
