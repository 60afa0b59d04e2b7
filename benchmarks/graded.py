"""Which instrument finds a model's true share of object and scene? Every one against rendered truth.

Dual encoders (ResNet, ViT) rest on object and scene in every proportion: pre-trained, then adapted by LP, FT, FLCP
where a shortcut (scene, tag) is right in half, 70 % or 90 % of the pictures. The truth of a picture is the share of
`rate.data.make.graded`, of the same score. Judged on right predictions: rank correlation, mean absolute error, equal
verdicts at one half, PT measured against PT true.

Rows of models that a call does not ask for stay in the table as they are.

    python -m benchmarks.graded [--work build/graded] [--pictures 300] [--maps 30] [--towers resnet vit]
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks import graded_models, record
from benchmarks.graded_scores import FEW, FILLS, FORMS, METHOD, Pictures, Scores, read
from benchmarks.graded_truth import labelled, scores_of, shares_of, true_shares
from rate.kernels.fold import fold
from rate.kernels.rise import Rise, centre_levels, moments
from rate.kernels.saliency import Bounds, evidence, mass_inside
from rate.kernels.score import SCORES
from rate.types import Bool, Float64

COUNTS = (4, 8, FILLS)
SWAPS = [
    *(("box", "pictures", count) for count in COUNTS),
    *((form, "pictures", FEW) for form in FORMS if form != "box"),
    ("box", "covered", FEW),
    ("box", "covered quarter", FEW),
    ("box", "most covered", FEW),
    ("mask +4 soft 2", "covered", FEW),
    ("box", "own class too", FEW),
    ("box", "mean", 1),
    ("box", "own", 1),
]
MAP_FILLS = ("mean", "own", "pictures")
MAP_KINDS = ("contrast", "constant", "constant, Shapley")  # the last is that of `rate`
MAP_FORMS = ("box", "mask")
TABLE = record.RESULTS / "graded.csv"
COMBINED = "map 512, pictures, box, constant, Shapley"


def main() -> None:
    """Judge every instrument on every model, and record the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/graded"))
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--maps", type=int, default=30, help="pictures that maps are drawn of: they cost 512 forwards")
    parser.add_argument("--towers", nargs="+", default=list(graded_models.TOWERS))
    parser.add_argument("--shortcuts", nargs="+", default=list(graded_models.SHORTCUTS))
    parser.add_argument("--rhos", nargs="+", type=float, default=list(graded_models.RHOS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trained", action="store_true", help="only models that an earlier call has trained")
    arguments = parser.parse_args()
    rows = _kept()
    for tower in arguments.towers:
        for shortcut in arguments.shortcuts:
            for rho in arguments.rhos:
                recipe = graded_models.Recipe(tower, shortcut, rho, arguments.seed)
                if not arguments.trained or graded_models.trained(arguments.work, recipe):
                    new = list(_study(arguments, recipe))
                    rows = [row for row in rows if _model(row) not in set(map(_model, new))] + new
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    figures: dict[str, Any] = {"pictures": arguments.pictures, "maps": arguments.maps, "instruments": summary(rows)}
    for shortcut in graded_models.SHORTCUTS:
        figures[f"instruments_{shortcut}"] = summary([row for row in rows if row["shortcut"] == shortcut])
    record.write("graded", figures)


def _kept() -> list[dict[str, Any]]:
    """The rows of earlier calls."""
    if not TABLE.exists():
        return []
    words = ("tower", "shortcut", "method", "score", "instrument")
    with TABLE.open(newline="", encoding="utf-8") as file:
        return [
            {name: text if name in words else json.loads(text or "null") for name, text in row.items()}
            for row in csv.DictReader(file)
        ]


def _model(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["tower"], row["shortcut"], row["rho"], row["method"]


def _study(arguments: argparse.Namespace, recipe: graded_models.Recipe) -> Iterator[dict[str, Any]]:
    folder = graded_models.data(arguments.work, recipe, recipe.rho, 0, arguments.pictures, 300 + recipe.seed)
    drawn = read(folder, arguments.pictures)
    trained = {"tower": recipe.tower, "shortcut": recipe.shortcut, "rho": recipe.rho}
    for method, (artifact, head) in graded_models.adapted(arguments.work, recipe).items():
        pictures = labelled(drawn, artifact, head)
        scores = Scores(artifact, pictures, arguments.work / "logits" / f"{recipe.name}-{artifact.path.name}")
        clean = scores.clean()[head].astype(np.float64)
        right = clean.argmax(axis=1) == pictures.labels
        about = {**trained, "method": method, "accuracy": round(right.mean(), 4)}
        truth = true_shares(scores, head, pictures)
        found = {**_swaps(scores, head, pictures), **_maps(scores, head, pictures, arguments.maps)}
        found |= _combined(found)
        for number, kind in enumerate(SCORES):
            for instrument, (forwards, shares) in found.items():
                measured = np.full(len(right), np.nan)
                measured[: shares.shape[1]] = shares[number]
                chosen = right & np.isfinite(truth[number]) & (np.arange(len(right)) < shares.shape[1])
                yield {**about, "score": kind, "instrument": instrument, "forwards": forwards} | judge(
                    measured[chosen], truth[number, chosen]
                )
        print(f"{recipe.name} {method}: right {right.mean():.3f}", flush=True)


def _swaps(scores: Scores, head: str, pictures: Pictures) -> dict[str, tuple[int, Float64]]:
    whole = scores_of(scores.clean()[head], pictures.labels)
    found = {}
    for form, fill, count in SWAPS:
        longest = FILLS if (form, fill) == ("box", "pictures") else count
        both = scores_of(scores.swaps(form, fill, longest)[head], pictures.labels)[..., :count]
        nothing = scores_of(scores.nothing(fill, longest)[head], pictures.labels)[..., :count]
        found[f"swap {count}, {fill}, {form}"] = 2 * count, shares_of(whole, both[:, :, 0], both[:, :, 1], nothing)
    return found


def _maps(scores: Scores, head: str, pictures: Pictures, count: int) -> dict[str, tuple[int, Float64]]:
    """Localization of RISE maps of the first ``count`` pictures."""
    labels = pictures.labels[:count]
    clean = scores_of(scores.clean()[head][:count], labels)
    found = {}
    for fill in MAP_FILLS:
        masked = scores_of(scores.masked(fill, count)[head], labels)
        nothing = scores_of(scores.nothing(fill, FEW)[head][:count], labels).mean(axis=2)
        for kind in MAP_KINDS:
            signals = [_signal(kind, clean[:, k], nothing[:, k], masked[:, k], k) for k in range(count)]
            for form in MAP_FORMS:
                shares = [_localization(kind, one, pictures.region(form, k) > 0.5) for k, one in enumerate(signals)]
                found[f"map {METHOD.count}, {fill}, {form}, {kind}"] = METHOD.count, np.stack(shares, axis=1)
    return found


def _combined(found: dict[str, tuple[int, Float64]]) -> dict[str, tuple[int, Float64]]:
    """The mean of the shares of swaps and of a map."""
    (few, swapped), (many, mapped) = found[f"swap {FEW}, pictures, box"], found[COMBINED]
    return {f"mean of swap {FEW} and {COMBINED}": (few + many, (swapped[:, : mapped.shape[1]] + mapped) / 2)}


def _signal(kind: str, clean: Float64, nothing: Float64, scores: Float64, k: int) -> Float64:
    """[s,h,w] positive evidence of picture ``k`` for scores [s,n]."""
    masks = METHOD.draw(f"test/{k:06d}", 0, METHOD.count)
    if kind == "constant, Shapley":
        return evidence(METHOD.maps(clean, nothing, scores, masks), "positive")
    contrast = centre_levels(scores, masks.level) / METHOD.count
    signal = fold(contrast, masks.grid, masks.offset, METHOD.perturbation)
    if kind == "constant":
        cells, shares = METHOD.side**2, np.array(METHOD.shares)
        spread = float((shares * (1 - shares)).mean()) * cells / (cells - 1)
        signal = signal + spread * (clean - nothing)[:, None, None] / cells
    return np.maximum(signal, 0.0)


def _localization(kind: str, positive: Float64, region: Bool) -> Float64:
    """[s] localization of maps [s,h,w], clipped to [0, 1]; NaN without evidence."""
    bounds = contrast_bounds(METHOD, region) if kind == "contrast" else METHOD.bounds(region)
    with np.errstate(invalid="ignore"):
        mass = positive[:, region].sum(axis=1) / positive.sum(axis=(1, 2))
    return np.asarray(np.clip((mass - bounds.floor) / (bounds.ceiling - bounds.floor), 0, 1))


def contrast_bounds(method: Rise, region: Bool) -> Bounds:
    """The bounds of a map that lacks the constant part, which a fixed number of cells takes out."""
    kernel = moments(method.perturbation, fixed=True).kernel
    inside, outside = (
        kernel @ seen.astype(np.float64) @ kernel - seen.sum() / method.side**2 for seen in (region, ~region)
    )
    return Bounds(ceiling=mass_inside(inside, region), floor=mass_inside(outside, region))


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
