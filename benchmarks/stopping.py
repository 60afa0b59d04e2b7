"""What stopping early costs and saves, on real photographs: against references that share no mask with the runs.

Each photograph of `benchmarks.real_scores` is held against regions of 10 % to 90 % of the image and against its own
box. The first 2,048 masks are the run, the 8,192 after them the reference. Also: bias, spread and interval of the
relevance mass against the number of masks, for several designs of masks.

    RATE_TEST_DATA=FOLDER python -m benchmarks.stopping [--work build/real] [--images 24] [--regions 90]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.real_scores import DESIGNS, FEW, SIZE, Scored, scored
from rate.config import Measurement
from rate.engine.verdicts.map_verdict import clearances
from rate.engine.verdicts.stopping import boundary, stopping_for
from rate.kernels.rise import Rise
from rate.kernels.saliency import Masks, evidence
from rate.statistics.intervals import Z95
from rate.statistics.validity import UNRESOLVABLE_BELOW, threshold
from rate.types import Bool, Float64

DEFAULT = "levels fixed"
RUN = 2048
"""Masks of a run; the reference has all the others."""

FAR = 0.05
"""Distance of the relevance mass from its threshold from which a verdict should be beyond doubt."""

CONFIDENCES = (0.95, 0.965, 0.975, 0.985, 0.99)
ALL = 1024
COUNTS = (64, 128, 256, 512)


@dataclass(frozen=True)
class Case:
    """One photograph and one region."""

    image: int
    own: bool  # the photograph's own box
    threshold: float
    reference: float  # relevance mass by the reference
    masses: list[float]  # at every look
    clearances: list[float | None]
    errors: list[float]

    @property
    def valid(self) -> bool:
        """By the reference."""
        return self.reference >= self.threshold

    @property
    def far(self) -> bool:
        """Whether the reference is beyond doubt."""
        return abs(self.reference - self.threshold) > FAR


def main() -> None:
    """Compute and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/real"))
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--regions", type=int, default=90)
    parser.add_argument("--designs", action="store_true", help="other designs of masks, too")
    arguments = parser.parse_args()
    design = DESIGNS[DEFAULT]
    photographs = scored(arguments.work, DEFAULT, design, arguments.images)
    cases = [case for k, one in enumerate(photographs) for case in cases_of(k, one, design, arguments.regions)]
    drawn, own = [c for c in cases if not c.own], [c for c in cases if c.own]
    figures: dict[str, object] = {
        "photographs": len(photographs),
        "run": RUN,
        "reference": design.count - RUN,
        "relevance_mass_quantiles": np.quantile([c.reference for c in drawn], (0.05, 0.25, 0.5, 0.75, 0.95))
        .round(3)
        .tolist(),
        **{
            f"drawn_regions_{name}": [stopped(some, confidence) for confidence in CONFIDENCES]
            for name, some in (
                ("even_photographs", [c for c in drawn if c.image % 2 == 0]),  # the boundary is calibrated on these
                ("odd_photographs", [c for c in drawn if c.image % 2 == 1]),
                ("all", drawn),
            )
        },
        "own_boxes": [stopped(own, confidence) for confidence in CONFIDENCES],
        "fixed": [fixed(drawn, look) for look in CHECKPOINTS],
    }
    if arguments.designs:
        figures["designs"] = [row for name in DESIGNS for row in spread(arguments.work, name, arguments.regions)]
    record.write("stopping", figures)


CHECKPOINTS = stopping_for(Measurement(verdict="map", max_masks=RUN), DESIGNS[DEFAULT]).checkpoints


def cases_of(number: int, one: Scored, design: Rise, count: int) -> Iterator[Case]:
    """The photograph's own box and ``count`` drawn regions, where the masks can tell inside from outside."""
    masks = design.draw(one.prepared.sample.id, 0, design.count)
    ends = np.array([one.clean]), np.array([one.nothing])
    rest = slice(RUN, design.count)
    reference = evidence(design.maps(*ends, one.scores[None, rest], part(masks, rest)), "positive")
    seen = [(one.scores[None, :look], part(masks, slice(0, look))) for look in CHECKPOINTS]
    maps = [design.maps(*ends, scores, drawn) for scores, drawn in seen]
    strengths = [design.strength(*look, one_map) for look, one_map in zip(seen, maps, strict=True)]
    regions = [one.prepared.region, *drawn_regions(np.random.default_rng(number), count)]
    for k, region in enumerate(regions):
        bounds = design.bounds(region)
        if bounds.ceiling - bounds.floor < UNRESOLVABLE_BELOW:
            continue
        needed = threshold(bounds.ceiling, bounds.floor, "midpoint", 0.5)
        evidences = [evidence(one_map, "positive") for one_map in maps]
        yield Case(
            image=number,
            own=k == 0,
            threshold=needed,
            reference=mass(reference, region),
            masses=[mass(found, region) for found in evidences],
            clearances=[
                clearances(design.clearance(*look, one_map, region, needed), strength, RUN / len(look[1]))[0]
                for look, one_map, strength in zip(seen, maps, strengths, strict=True)
            ],
            errors=[
                float(design.standard_error(*look, one_map, region)[0])
                for look, one_map in zip(seen, maps, strict=True)
            ],
        )


def part(masks: Masks, which: slice) -> Masks:
    """Some of the masks."""
    return Masks(masks.grid[which], masks.offset[which], masks.level[which])


def mass(found: Float64, region: Bool) -> float:
    """Relevance mass of evidence [1,h,w]."""
    return float(found[0][region].sum() / found.sum())


def drawn_regions(rng: np.random.Generator, count: int) -> list[Bool]:
    """Rectangles and ellipses of 10 % to 90 % of the image, anywhere."""
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    found: list[Bool] = []
    while len(found) < count:
        area, aspect = rng.uniform(0.1, 0.9) * SIZE**2, math.exp(rng.uniform(-0.5, 0.5))
        high = min(float(SIZE), math.sqrt(area * aspect))
        wide = min(float(SIZE), area / high)
        top, left = rng.uniform(0, SIZE - high), rng.uniform(0, SIZE - wide)
        y, x = (rows - top) / high - 0.5, (columns - left) / wide - 0.5
        region = (abs(y) < 0.5) & (abs(x) < 0.5) if rng.random() < 0.5 else y**2 + x**2 < 0.25
        if 0.1 <= region.mean() <= 0.9:
            found.append(region)
    return found


def stopped(cases: list[Case], confidence: float) -> dict[str, object]:
    """Runs that stop by the product's rule, against the reference."""
    stopping = stopping_for(Measurement(verdict="map", max_masks=RUN, confidence=confidence), DESIGNS[DEFAULT])
    ends: list[tuple[Case, int, str, bool]] = []
    for case in cases:
        for k, look in enumerate(stopping.checkpoints):
            if (settled := stopping.settled(look, case.clearances[k])) is not None:
                ends.append((case, look, settled, case.masses[k] >= case.threshold))
                break
    decided = [(case, valid) for case, _, settled, valid in ends if settled == "decided"]
    return {
        "confidence": confidence,
        "boundary": round(boundary(confidence), 3),
        "cases": len(cases),
        "forwards_mean": round(float(np.mean([1 + look for _, look, _, _ in ends])), 1),
        "forwards_median": float(np.median([1 + look for _, look, _, _ in ends])),
        "capped": share([settled == "capped" for _, _, settled, _ in ends]),
        "decided_right": share([case.valid == valid for case, valid in decided]),
        "decided_wrongly": {
            "valid_called_invalid": share([not valid for case, valid in decided if case.valid]),
            "invalid_called_valid": share([valid for case, valid in decided if not case.valid]),
        },
        "decided_and_far_right": share([case.valid == valid for case, valid in decided if case.far]),
        "valid": share([valid for *_, valid in ends]),
        "valid_by_reference": share([case.valid for case in cases]),
    }


def fixed(cases: list[Case], look: int) -> dict[str, object]:
    """Runs of a fixed number of masks, against the reference."""
    k = CHECKPOINTS.index(look)
    differences = np.array([case.masses[k] - case.reference for case in cases])
    errors = np.array([case.errors[k] for case in cases])
    return {
        "masks": look,
        "bias": round(float(differences.mean()), 4),
        "sd": round(float(differences.std()), 4),
        "cover_of_95": share((abs(differences) <= Z95 * errors).tolist()),
        "far_right": share([case.valid == (case.masses[k] >= case.threshold) for case in cases if case.far]),
    }


def share(found: list[bool]) -> float | None:
    """Share of what holds."""
    return round(float(np.mean(found)), 4) if found else None


def spread(work: Path, name: str, regions: int) -> Iterator[dict[str, object]]:
    """Spread of the relevance mass over disjoint draws of a design, and bias against all its masks together."""
    design = replace(DESIGNS[name], count=ALL)
    photographs = [(one, one.scores[:ALL]) for one in scored(work, name, DESIGNS[name], FEW)]
    for count in COUNTS:
        deviations, biases = [], []
        for number, (one, scores) in enumerate(photographs):
            masks = design.draw(one.prepared.sample.id, 0, ALL)
            blocks = [slice(start, start + count) for start in range(0, ALL, count)]
            ends = np.array([one.clean]), np.array([one.nothing])
            found = [evidence(design.maps(*ends, scores[None, b], part(masks, b)), "positive") for b in blocks]
            whole = evidence(design.maps(*ends, scores[None], masks), "positive")
            for region in drawn_regions(np.random.default_rng(number), regions):
                masses = [mass(maps, region) for maps in found]
                deviations.append(np.var(masses, ddof=1))
                biases.append(np.mean(masses) - mass(whole, region))
        yield {
            "design": name,
            "masks": count,
            "sd": round(float(np.sqrt(np.mean(deviations))), 4),
            "bias": round(float(np.mean(biases)), 4),
            "mean_abs_bias": round(float(np.mean(np.abs(biases))), 4),
        }


if __name__ == "__main__":
    main()
