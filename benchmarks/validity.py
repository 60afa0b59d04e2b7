"""Does the measurement find out what an answer rests on? Models with planted reasons, on pictures they get right.

Truth: a model that can only use the object has PT 1, one that can only use a shortcut outside the object has PT 0.
Each design (masks, score, evidence, rule) is judged by the PT of both and by how well its statistic separates them
(AUC over samples), for the object's exact mask, its box, and regions that hold nearly everything but the tag. The
forwards are run once a design through the exported graphs; everything else is computed from their logits.

    python -m benchmarks.validity [--work build/validity] [--images 300] [--scenes 150] [--fast 60]
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import planted, record
from benchmarks.cases import Case, cases_of, logits_of
from rate.kernels.occlusion import Occlusion
from rate.kernels.rise import Rise
from rate.kernels.saliency import Bounds, Method, evidence
from rate.methods import KEEP
from rate.statistics.noise import verdict_noise
from rate.statistics.validity import UNRESOLVABLE_BELOW, relevance_mass, threshold
from rate.types import Bool, Float32, Float64

SIZE = planted.SIZE
DESIGNS: dict[str, Method] = {
    "rise s7 levels fixed": Rise(SIZE, 7, KEEP, "fixed", 500, 0),
    "rise s7 levels independent": Rise(SIZE, 7, KEEP, "independent", 250, 0),
    "rise s5 levels fixed": Rise(SIZE, 5, KEEP, "fixed", 250, 0),
    "rise s10 levels fixed": Rise(SIZE, 10, KEEP, "fixed", 250, 0),
    "rise s7 p.2 p.8 fixed": Rise(SIZE, 7, (0.2, 0.8), "fixed", 250, 0),
    "rise s7 p.1 fixed": Rise(SIZE, 7, (0.1,), "fixed", 250, 0),
    "rise s7 p.3 fixed": Rise(SIZE, 7, (0.3,), "fixed", 250, 0),
    "rise s7 p.5 fixed": Rise(SIZE, 7, (0.5,), "fixed", 250, 0),
    "rise s7 p.7 fixed": Rise(SIZE, 7, (0.7,), "fixed", 250, 0),
    "rise s7 p.9 fixed": Rise(SIZE, 7, (0.9,), "fixed", 250, 0),
    "rise s7 p.5 independent": Rise(SIZE, 7, (0.5,), "independent", 250, 0),
    "occlusion 24/12": Occlusion(SIZE, 24, 12),
    "occlusion 16/8": Occlusion(SIZE, 16, 8),
    "occlusion 12/6": Occlusion(SIZE, 12, 6),
}
"""Windows and strides of occlusion in pixels of 96."""

DEFAULT = "rise s7 levels fixed"
ON_SCENES = (DEFAULT, "rise s7 p.5 fixed", "occlusion 24/12")
COUNTS = (100, 250, 500)
REPEAT = 125
"""Masks of one of several separate draws."""

SCORES = ("logit", "probability", "log-odds")
RULES = ("midpoint", "absolute", "ratio", "above area", "minmax absolute", "raw absolute")
CHOSEN = (DEFAULT, 500, "logit", "midpoint")
"""What `rate eval` does unless told otherwise, but that it stops where a verdict is clear."""

SIZES = {"small": (0.0, 0.08), "medium": (0.08, 0.2), "large": (0.2, 1.0)}


@dataclass(frozen=True)
class Judged:
    """One sample under one design, score, region: the statistic of every rule, relative to its threshold of 0.5."""

    statistic: dict[str, float]
    resolvable: bool
    uniform: dict[str, bool]


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/validity"))
    parser.add_argument("--images", type=int, default=300, help="pictures with a tag, for the default design")
    parser.add_argument("--scenes", type=int, default=150, help="pictures with a telling scene, for the default design")
    parser.add_argument("--fast", type=int, default=60, help="pictures for the other designs")
    parser.add_argument("--towers", nargs="+", default=list(planted.TOWERS))
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    repeats: list[dict[str, object]] = []
    for tower in arguments.towers:
        for shortcut in ("tag", "scene"):
            rows += _study(arguments, tower, shortcut, repeats)
    with (record.RESULTS / "validity.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), restval="")
        writer.writeheader()
        writer.writerows(rows)
    chosen = [row for row in rows if (row["design"], row["masks"], row["score"], row["rule"]) == CHOSEN]
    record.write(
        "validity",
        {
            "images": {"tag": arguments.images, "scene": arguments.scenes, "other designs": arguments.fast},
            "default": chosen,
            "repeats": repeats,
        },
    )


def _study(
    arguments: argparse.Namespace, tower: str, shortcut: str, repeats: list[dict[str, object]]
) -> Iterator[dict[str, object]]:
    data = planted.agreeing(arguments.work, tower, shortcut, 300)
    artifacts = {kind: planted.model(arguments.work, tower, kind) for kind in ("object", shortcut)}
    cases = {kind: cases_of(artifact, data, shortcut, kind) for kind, artifact in artifacts.items()}
    for kind, found in cases.items():
        right = [case for case in found if case.clean.argmax() == case.label]
        print(
            f"{tower} {kind} on {shortcut}: right on {len(right)} of {len(found)}, "
            f"as planted {sum(case.rests_as_planted for case in right)}",
            flush=True,
        )
    designs = DESIGNS if shortcut == "tag" else {name: DESIGNS[name] for name in ON_SCENES}
    for name, method in designs.items():
        many = arguments.images if shortcut == "tag" else arguments.scenes
        count = many if name == DEFAULT else arguments.fast
        logits = {
            kind: logits_of(arguments.work, artifacts[kind], f"{tower}-{kind}-{shortcut}", name, method, found[:count])
            for kind, found in cases.items()
        }
        for row in _tabulate(name, method, {k: v[:count] for k, v in cases.items()}, logits):
            yield {"tower": tower, "shortcut": shortcut, **row}
        if name == DEFAULT:
            repeats += [
                {
                    "tower": tower,
                    "shortcut": shortcut,
                    "model": kind,
                    **_repeated(method, cases[kind][:count], logits[kind]),
                }
                for kind in cases
            ]


def _scores(logits: Float64, label: int) -> Float64:
    """[3,n] the label's logit, probability and log-odds."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    others = np.log(np.exp(np.delete(shifted, label, axis=1)).sum(axis=1))
    odds = shifted[:, label] - others
    return np.stack([logits[:, label], 1.0 / (1.0 + np.exp(-odds)), odds])


def _tabulate(
    name: str, method: Method, cases: dict[str, list[Case]], logits: dict[str, Float32]
) -> Iterator[dict[str, object]]:
    counts = [count for count in COUNTS if count <= method.count] if isinstance(method, Rise) else [method.count]
    for count in counts:
        judged = {
            kind: [
                _judge(method, case, logits[kind][k, :count].astype(np.float64), count) for k, case in enumerate(found)
            ]
            for kind, found in cases.items()
        }
        for s, score in enumerate(SCORES):
            for region in next(iter(cases.values()))[0].regions:
                for rule in RULES:
                    columns = {kind: [sample[s][region] for sample in found] for kind, found in judged.items()}
                    yield {
                        "design": name,
                        "masks": count,
                        "score": score,
                        "region": region,
                        "rule": rule,
                        **figures(cases, columns, rule, region),
                    }


def _judge(method: Method, case: Case, logits: Float64, count: int) -> list[dict[str, Judged]]:
    """One entry a score: region -> statistics."""
    masks = method.draw(case.prepared.sample.id, 0, count)
    scores = _scores(logits, case.label)
    clean, nothing = _scores(np.stack([case.clean, case.nothing]), case.label).T
    maps = method.maps(clean, nothing, scores, masks)
    kinds = {kind: evidence(maps, kind) for kind in ("positive", "minmax", "raw")}
    found: list[dict[str, Judged]] = [{} for _ in SCORES]
    for name, region in case.regions.items():
        bounds = method.bounds(region)
        for s, judged in enumerate(found):
            judged[name] = _statistics({kind: values[s] for kind, values in kinds.items()}, region, bounds)
    return found


def _statistics(kinds: dict[str, Float64], region: Bool, bounds: Bounds) -> Judged:
    ceiling, floor, area = bounds.ceiling, bounds.floor, float(region.mean())
    mass = {kind: relevance_mass(values, region) or 0.0 for kind, values in kinds.items()}

    def rules(positive: float, minmax: float, raw: float) -> dict[str, float]:
        return {
            "midpoint": (positive - floor) / (ceiling - floor) - 0.5 if ceiling > floor else 0.0,
            "absolute": positive - 0.5,
            "ratio": positive / ceiling - 0.5,
            "above area": (positive - area) / (ceiling - area) - 0.5 if ceiling > area else 0.0,
            "minmax absolute": minmax - 0.5,
            "raw absolute": raw - 0.5,
        }

    uniform = rules(area, area, area)
    return Judged(
        rules(mass["positive"], mass["minmax"], mass["raw"]),
        ceiling - floor >= UNRESOLVABLE_BELOW,
        {rule: value >= 0 for rule, value in uniform.items()},
    )


def _repeated(method: Method, cases: list[Case], logits: Float32) -> dict[str, object]:
    """PT by separate draws of masks, and what `rate.statistics.noise.verdict_noise` states for one of them."""
    blocks = [slice(start, start + REPEAT) for start in range(0, method.count, REPEAT)]
    right = [(case, logits[k]) for k, case in enumerate(cases) if case.clean.argmax() == case.label]
    found = [_drawn_again(method, case, own[part], part) for case, own in right for part in blocks]
    valid = np.array([judged.statistic["midpoint"] >= 0 for judged, _ in found]).reshape(len(right), len(blocks))
    mass = np.array([judged.statistic["absolute"] + 0.5 for judged, _ in found])
    bounds = [method.bounds(case.prepared.region) for case, _ in right for _ in blocks]
    thresholds = np.array([threshold(bound.ceiling, bound.floor, "midpoint", 0.5) for bound in bounds])
    errors = np.array([error for _, error in found])
    stated, _ = verdict_noise(np.ones(len(mass), np.bool_), mass, errors, thresholds)
    return {
        "masks": REPEAT,
        "n": len(right),
        "pt": [round(float(value), 4) for value in valid.mean(axis=0)],
        "spread": round(float(valid.mean(axis=0).std(ddof=1)), 4),
        "stated": None if stated is None else round(stated * len(blocks) ** 0.5, 4),
        "verdicts_that_differ": round(float((valid[:, :1] != valid[:, 1:]).mean()), 4),
    }


def _drawn_again(method: Method, case: Case, logits: Float32, part: slice) -> tuple[Judged, float]:
    masks = method.draw(case.prepared.sample.id, part.start, part.stop)
    scores = logits[None, :, case.label].astype(np.float64)
    maps = method.maps(case.clean[None, case.label], case.nothing[None, case.label], scores, masks)
    region = case.prepared.region
    kinds = {kind: evidence(maps, kind)[0] for kind in ("positive", "minmax", "raw")}
    error = method.standard_error(scores, masks, maps, region)
    return _statistics(kinds, region, method.bounds(region)), 0.0 if error is None else float(error[0])


def figures(
    cases: dict[str, list[Case]], columns: dict[str, list[Judged]], rule: str, region: str
) -> dict[str, object]:
    """PT of the model that rests on the object and of the one that rests on the shortcut, and their separation."""
    row: dict[str, object] = {}
    separated: dict[str, list[float]] = {}
    for kind, found in cases.items():
        who = "object" if kind == "object" else "shortcut"
        right = [
            (case, judged)
            for case, judged in zip(found, columns[kind], strict=True)
            if case.clean.argmax() == case.label and judged.resolvable and case.holds_object(region)
        ]
        planted_so = [(case, judged) for case, judged in right if case.rests_as_planted]
        separated[who] = [judged.statistic[rule] for _, judged in planted_so]
        row |= {f"n_{who}": len(right), f"pt_{who}": _share(right, rule)}
        row |= {f"n_{who}_checked": len(planted_so), f"pt_{who}_checked": _share(planted_so, rule)}
        for size, (low, high) in SIZES.items():
            chosen = [(case, judged) for case, judged in planted_so if low <= case.regions["mask"].mean() < high]
            row[f"pt_{who}_{size}"] = _share(chosen, rule)
        if who == "object":
            uniform = [judged.uniform[rule] for _, judged in right if rule in judged.uniform]
            row["pt_uniform"] = round(float(np.mean(uniform)), 4) if uniform else None
    row["auc"] = _auc(separated["object"], separated["shortcut"])
    return row


def _share(chosen: list[tuple[Case, Judged]], rule: str) -> float | None:
    """PT: the share with a statistic on or above its threshold."""
    return round(float(np.mean([judged.statistic[rule] >= 0 for _, judged in chosen])), 4) if chosen else None


def _auc(high: list[float], low: list[float]) -> float | None:
    """Probability that a sample of ``high`` lies above one of ``low``, ties counted half."""
    if not high or not low:
        return None
    a, b = np.array(high)[:, None], np.array(low)[None, :]
    return round(float(((a > b) + 0.5 * (a == b)).mean()), 4)


if __name__ == "__main__":
    main()
