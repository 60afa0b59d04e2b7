"""How often the intervals of PT and IR hold what they should, by simulation; and whether the stated noise is true.

Samples have a true localization, a standard error from their masks, and a prediction that is right or wrong. A draw
takes n samples and gives each one noisy verdict. Two targets: PT and IR of the whole population as this number of
masks sees it, which is what the Wilson interval is for, and as infinitely many masks would see it, which is what PT
without noise is for. Then sets whose samples come in clusters: intervals of a share, and the level of the tests.

    python -m benchmarks.coverage [--draws 4000]
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass

import numpy as np

from benchmarks import clusters, record
from rate.statistics.metrics import STATES, ir, pt, quadrants
from rate.statistics.noise import share_without_noise, verdict_noise
from rate.statistics.paired import difference
from rate.types import Bool, Float64, Int64

ACCURACY = 0.8
POPULATION = 200_000
TRUE_PT = (0.70, 0.85, 0.95)
ERRORS = (0.0, 0.05, 0.1)  # of the localization, from the masks
LARGE_ERROR = 0.2  # nearly as large as the spread of the localizations
SAMPLES = (100, 400, 2000)
TARGETS = ("pt", "ir", "pt_without_noise", "ir_without_noise", "pt_corrected")
"""By Wilson's interval: PT and IR of as many masks, and of endless masks; by PT without noise: PT of endless masks."""


@dataclass(frozen=True, eq=False)
class Population:
    """What the samples are drawn from."""

    localization: Float64
    correct: Bool

    @classmethod
    def with_pt(cls, share: float, rng: np.random.Generator) -> Population:
        """Localizations about normal, so placed that the share of correct ones above the threshold is ``share``."""
        spread = 0.25
        place = {0.70: 0.631, 0.85: 0.759, 0.95: 0.911}[share]
        correct = rng.random(POPULATION) < ACCURACY
        # wrong predictions rest on the region less often
        return cls(rng.normal(np.where(correct, place, place - 0.2), spread, POPULATION), correct)


def main() -> None:
    """Simulate and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--difference-draws", type=int, default=1000)
    arguments = parser.parse_args()
    rng = np.random.default_rng(20)
    rows = [
        single(Population.with_pt(share, rng), share, error, count, arguments.draws, rng)
        for share, error, count in itertools.product(TRUE_PT, ERRORS, SAMPLES)
    ]
    large = [
        single(Population.with_pt(share, rng), share, LARGE_ERROR, count, arguments.draws, rng)
        for share, count in itertools.product(TRUE_PT, SAMPLES)
    ]
    noise = [
        stated_noise(Population.with_pt(share, rng), share, error, rng) for share in TRUE_PT for error in ERRORS[1:]
    ]
    paired = [
        differences(agreement, count, arguments.difference_draws, rng)
        for agreement, count in itertools.product((0.0, 0.6), (100, 400, 2000))
    ]
    record.write(
        "coverage",
        {
            "draws": arguments.draws,
            "mean_coverage": {name: round(float(np.mean([row[name] for row in rows])), 4) for name in TARGETS},
            "worst_coverage": {name: min(row[name] for row in rows) for name in TARGETS},
            "wilson": rows,
            "large_noise": large,
            "clusters": clusters.shares(arguments.draws, rng),
            "cluster_tests": clusters.tests(arguments.difference_draws, rng),
            "stated_noise": noise,
            "difference_draws": arguments.difference_draws,
            "differences": paired,
        },
    )


def single(
    population: Population, share: float, error: float, count: int, draws: int, rng: np.random.Generator
) -> dict[str, float]:
    """Coverage of the Wilson intervals of PT and IR, and of PT without noise."""
    seen = population.localization + error * rng.normal(size=POPULATION)
    targets = [quadrants(population.correct, values >= 0.5) for values in (seen, population.localization)]
    (pt_here, ir_here), (pt_true, ir_true) = [(pt(c).value, ir(c).value) for c in targets]
    hits = np.zeros(len(TARGETS))
    for _ in range(draws):
        chosen = rng.integers(0, POPULATION, count)
        values = population.localization[chosen] + error * rng.normal(size=count)
        correct = population.correct[chosen]
        counts = quadrants(correct, values >= 0.5)
        trust, reliability = pt(counts).interval or (0.0, 1.0), ir(counts).interval or (0.0, 1.0)
        exact = share_without_noise(values[correct], np.full(correct.sum(), error), np.full(correct.sum(), 0.5))
        hits += [
            low <= (target or 0.0) <= high
            for (low, high), target in (
                (trust, pt_here),
                (reliability, ir_here),
                (trust, pt_true),
                (reliability, ir_true),
                ((exact.low, exact.high) if exact else (0.0, 1.0), pt_true),
            )
        ]
    found = {name: round(float(value), 4) for name, value in zip(TARGETS, hits / draws, strict=True)}
    return {"true_pt": share, "mask_error": error, "n": count, **found}


def stated_noise(population: Population, share: float, error: float, rng: np.random.Generator) -> dict[str, float]:
    """The `mask noise` that a summary prints against the spread of PT and IR over new masks for the same samples."""
    chosen = rng.integers(0, POPULATION, 400)
    correct, true = population.correct[chosen], population.localization[chosen]
    half = np.full(400, 0.5)
    values, stated = [], []
    for _ in range(2000):
        drawn = true + error * rng.normal(size=400)
        counts = quadrants(correct, drawn >= half)
        values.append((pt(counts).value or 0.0, ir(counts).value or 0.0))
        if len(stated) < 50:
            stated.append([value or 0.0 for value in verdict_noise(correct, drawn, np.full(400, error), half)])
    spread, said = np.std(values, axis=0), np.mean(stated, axis=0)
    return {
        "true_pt": share,
        "mask_error": error,
        "pt_spread": round(float(spread[0]), 4),
        "pt_stated": round(float(said[0]), 4),
        "ir_spread": round(float(spread[1]), 4),
        "ir_stated": round(float(said[1]), 4),
    }


def differences(agreement: float, count: int, draws: int, rng: np.random.Generator) -> dict[str, float]:
    """Coverage of the paired intervals of two heads that share a state in a part of the samples."""
    first = np.array([0.60, 0.15, 0.10, 0.10, 0.03, 0.01, 0.01])
    second = np.array([0.54, 0.26, 0.08, 0.07, 0.03, 0.01, 0.01])
    joint = (1 - agreement) * np.outer(first, second)
    common = np.minimum(first, second)
    joint += agreement * (np.diag(common) + _rest(first - common, second - common))
    truth = {metric: _change(metric, joint) for metric in ("accuracy", "pt", "ir")}
    hits = dict.fromkeys(truth, 0)
    for table in rng.multinomial(count, joint.ravel(), size=draws):
        for metric, target in truth.items():
            found = difference(metric, table.reshape(joint.shape).astype(np.int64))
            hits[metric] += found.low is not None and found.high is not None and found.low <= target <= found.high
    return {"agreement": agreement, "n": count, **{metric: round(hit / draws, 4) for metric, hit in hits.items()}}


def _rest(rows: Float64, columns: Float64) -> Float64:
    return np.outer(rows, columns) / max(rows.sum(), 1e-12)


def _change(metric: str, joint: Float64) -> float:
    """The true difference, from a table large enough to be exact to 1e-6."""
    large: Int64 = np.round(joint * 1e9).astype(np.int64)
    sides = {"accuracy": (("rr", "rw", "undefined_right"), ("wr", "ww", "undefined_wrong"))}
    wins, losses = sides.get(metric, (("rr",), ("rw",) if metric == "pt" else ("wr",)))

    def share(states: Int64) -> float:
        counted = [int(sum(states[STATES.index(name)] for name in side)) for side in (wins, losses)]
        return counted[0] / sum(counted)

    return share(large.sum(axis=0)) - share(large.sum(axis=1))


if __name__ == "__main__":
    main()
