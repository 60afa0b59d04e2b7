"""Does pure noise get a verdict? Scores that no pixel changes, under the stopping rules of maps and of swaps.

Every score of a sample (of the picture, of the fills, under every mask or swap) is an independent draw; for swaps,
the three scores of a fill may also share a part. *decided*: the verdict was called clear; *verdict*: there was one.

    python -m benchmarks.no_evidence [--samples 1500]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from benchmarks import record
from benchmarks.stopping import part
from rate.config import MOST_FILLS, Measurement
from rate.engine.verdicts.map_verdict import clearances
from rate.engine.verdicts.stopping import Stopping, stopping_for, stopping_of_swaps
from rate.kernels.rise import Rise
from rate.kernels.swap import ROWS_PER_FILL, clearance, shapley_values
from rate.methods import KEEP
from rate.statistics.validity import threshold
from rate.types import Bool, Float64

Draws = list[tuple[int, list[float | None], Bool]]
"""At every checkpoint: its number of rows, and of every sample the clearance and whether there is evidence."""

NOISES = ("normal", "heavy tails", "wider with more cells")
AREAS = (0.1, 0.5)
SHARED = (0.0, 0.5, 0.9)
SIZE, AT_ONCE = 32, 500
METHOD = Rise(SIZE, 7, KEEP, "fixed", 2048, 0)


def main() -> None:
    """Simulate and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=1500)
    samples = parser.parse_args().samples
    maps = stopping_for(Measurement(verdict="map"), METHOD)
    swaps = stopping_of_swaps("auto", MOST_FILLS, ROWS_PER_FILL)
    rows = [
        {"verdict": "map", "noise": noise, "area": area} | ended(maps, of_maps(noise, area, samples, maps))
        for noise in NOISES
        for area in AREAS
    ]
    rows += [
        {"verdict": "swap", "shared_by_fill": shared} | ended(swaps, [of_swaps(shared, samples, swaps)])
        for shared in SHARED
    ]
    record.write("no_evidence", {"samples": samples, "rows": rows})


def ended(stopping: Stopping, groups: Iterator[Draws] | list[Draws]) -> dict[str, float]:
    """How the samples end under a rule."""
    ends: list[tuple[int, str, bool]] = []
    for draws in groups:
        for k in range(len(draws[0][1])):
            for rows, clear, evidence in draws:
                if (settled := stopping.settled(rows, clear[k])) is not None:
                    ends.append((rows, settled, bool(evidence[k])))
                    break
    return {
        "decided": round(float(np.mean([how == "decided" and seen for _, how, seen in ends])), 4),
        "verdict": round(float(np.mean([seen for *_, seen in ends])), 4),
        "rows_mean": round(float(np.mean([rows for rows, *_ in ends])), 1),
    }


def of_maps(noise: str, area: float, samples: int, stopping: Stopping) -> Iterator[Draws]:
    """Maps of noise, held against a square region."""
    side = round(SIZE * area**0.5)
    region = np.zeros((SIZE, SIZE), np.bool_)
    region[2 : 2 + side, 3 : 3 + side] = True
    bounds = METHOD.bounds(region)
    needed = threshold(bounds.ceiling, bounds.floor, "midpoint", 0.5)
    rng = np.random.default_rng(0)
    for number in range(-(-samples // AT_ONCE)):
        masks = METHOD.draw(f"noise {number}", 0, METHOD.count)
        shape = (min(AT_ONCE, samples - number * AT_ONCE), METHOD.count)
        scores = rng.standard_t(3, shape) if noise == "heavy tails" else rng.normal(size=shape)
        scores *= 1 + masks.level if noise == "wider with more cells" else 1
        clean, nothing = rng.normal(size=(2, len(scores)))
        found = []
        for count in stopping.checkpoints:
            seen, drawn = scores[:, :count], part(masks, slice(0, count))
            maps = METHOD.maps(clean, nothing, seen, drawn)
            strength = METHOD.strength(seen, drawn, maps)
            distances = METHOD.clearance(seen, drawn, maps, region, needed)
            found.append((count, clearances(distances, strength, METHOD.count / count), strength >= 1.0))
        yield found


def of_swaps(shared: float, samples: int, stopping: Stopping) -> Draws:
    """Swaps of noise, of whose variance a share is common to the scores of a fill."""
    rng = np.random.default_rng(0)
    whole: Float64 = rng.normal(size=samples)
    alone, common = rng.normal(size=(3, samples, MOST_FILLS)), rng.normal(size=(samples, MOST_FILLS))
    inside, outside, nothing = (1 - shared) ** 0.5 * alone + shared**0.5 * common
    found: Draws = []
    for rows in stopping.checkpoints:
        met = slice(0, rows // ROWS_PER_FILL)
        scores = whole, inside[:, met], outside[:, met], nothing[:, met]
        evidence = shapley_values(*scores).has_evidence
        distances = np.where(evidence, clearance(*scores, tau=0.5), 0.0)
        found.append((rows, distances.tolist(), evidence))
    return found


if __name__ == "__main__":
    main()
