"""What stopping early costs and saves where swaps decide, on real photographs: against fills that no run has met.

Each photograph of `benchmarks.real_scores` is held against its own box and regions of 10 % to 90 % of the image. 64
other photographs are the fills of the run, 64 further ones those of the reference; all show another class.

    RATE_TEST_DATA=FOLDER python -m benchmarks.swap_stopping [--work build/real] [--images 16] [--regions 130]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.real_scores import SPREAD, artifact_of
from benchmarks.stopping import drawn_regions, share
from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend
from rate.backends.batches import clean_rows
from rate.config import MOST_FILLS, Execution
from rate.data.images.prepare import prepare
from rate.data.manifest import read_manifest
from rate.engine.choose_backend import open_backend
from rate.engine.stopping import FILL_CHECKPOINTS, Stopping, stopping_of_swaps
from rate.kernels.score import score
from rate.kernels.separable import rise
from rate.kernels.swap import ROWS_PER_FILL, clearance, shapley_values
from rate.types import INSIDE, OUTSIDE, Bool, Float64, Int64, Prepared, Rows, Sample

FAR = 0.05
"""Distance of the share from one half from which a verdict should be beyond doubt."""

BATCH = 32
SCORE = "centred"
BOUNDARIES = (1.2, 1.4, 1.6, 1.8, 2.0, 2.2)
LONGEST = Stopping(stopping_of_swaps("auto", MOST_FILLS, ROWS_PER_FILL).checkpoints, max(BOUNDARIES))


@dataclass(frozen=True, eq=False)
class Case:
    """One photograph and one region."""

    own: bool  # the photograph's own box
    reference: float  # share by the reference
    shares: list[float]  # at every checkpoint that was reached
    clearances: list[float]
    evidence: list[bool]

    @property
    def far(self) -> bool:
        """Whether the reference is beyond doubt."""
        return abs(self.reference - 0.5) > FAR


def main() -> None:
    """Compute and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/real"))
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--regions", type=int, default=130)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    cases = measured(artifact_of(arguments.work), arguments.images, arguments.regions, arguments.threads)
    drawn, own = [c for c in cases if not c.own], [c for c in cases if c.own]
    figures = {
        "photographs": arguments.images,
        "reference_fills": MOST_FILLS,
        "score": SCORE,
        "drawn_regions": [stopped(drawn, boundary) for boundary in BOUNDARIES],
        "own_boxes": [stopped(own, boundary) for boundary in BOUNDARIES],
    }
    record.write("swap_stopping", figures)


def measured(artifact: Artifact, images: int, regions: int, threads: int) -> list[Case]:
    """Every photograph with its own box and ``regions`` drawn ones."""
    samples = read_manifest(Path(os.environ["RATE_TEST_DATA"]) / "caltech101-boxes" / "annotations.csv").samples
    cases: list[Case] = []
    with open_backend(artifact, Execution(threads=threads)) as backend:
        backend.bind(rise(artifact.geometry.size, 7), 1 + ROWS_PER_FILL * MOST_FILLS)
        for number, sample in enumerate(samples[:: len(samples) // SPREAD][:images]):
            photograph = Photograph(artifact, backend, sample, _others(samples, sample, number))
            for k, region in enumerate([photograph.prepared.region, *drawn_regions(_rng(number), regions)]):
                cases.append(photograph.case(region, own=k == 0))
            print(f"{number + 1}/{images} photographs, {backend.name} {backend.precision}", flush=True)
    return cases


def _rng(number: int) -> np.random.Generator:
    return np.random.default_rng(number)


def _others(samples: tuple[Sample, ...], sample: Sample, number: int) -> list[Sample]:
    """Photographs of other classes, by chance: those of the run, then those of the reference."""
    others = [other for other in samples if other.label != sample.label]
    chosen = _rng(1000 + number).permutation(len(others))[: ROWS_PER_FILL * MOST_FILLS]
    return [others[k] for k in chosen]


class Photograph:
    """A photograph in slot 0, and 128 others behind it."""

    def __init__(self, artifact: Artifact, backend: Backend, sample: Sample, others: list[Sample]) -> None:
        self._backend, self._head = backend, artifact.heads[0].name
        self.prepared: Prepared = prepare(sample, artifact.geometry)
        backend.put(0, self.prepared.pixels)
        for slot, other in enumerate(others, 1):
            backend.put(slot, prepare(other, artifact.geometry).pixels)
        slots = np.arange(1 + len(others))
        perturbation = rise(artifact.geometry.size, 7)
        self._rows: Callable[[int], Rows] = lambda count: clean_rows(perturbation, np.zeros(count, np.int64))
        logits = np.concatenate(
            [self._logits(clean_rows(perturbation, slots[at : at + BATCH])) for at in range(0, len(slots), BATCH)]
        )
        self._best = int(logits[0].argmax())
        scores = score(logits, self._best, SCORE)
        self._whole, self._nothing = scores[:1], scores[1:]

    def _logits(self, rows: Rows) -> Float64:
        return self._backend.submit(rows).wait()[self._head].astype(np.float64)

    def case(self, region: Bool, own: bool) -> Case:
        """Swap one region: the run until it has stopped under every boundary, then the reference."""
        self._backend.put(0, self.prepared.pixels, region.astype(np.float32))
        both = np.empty((ROWS_PER_FILL, 0))
        shares: list[float] = []
        clearances: list[float] = []
        evidence: list[bool] = []
        for count in FILL_CHECKPOINTS:
            both = np.concatenate([both, self._swapped(np.arange(both.shape[1], count))], axis=1)
            nothing = self._nothing[None, :count]
            values = shapley_values(self._whole, both[:1], both[1:], nothing)
            shares.append(float(values.share[0]))
            evidence.append(bool(values.has_evidence[0]))
            clear = float(clearance(self._whole, both[:1], both[1:], nothing, 0.5)[0]) if evidence[-1] else 0.0
            clearances.append(clear)
            if LONGEST.settled(ROWS_PER_FILL * count, clear) is not None:
                break
        others = MOST_FILLS + np.arange(MOST_FILLS)
        both = self._swapped(others)
        reference = shapley_values(self._whole, both[:1], both[1:], self._nothing[None, others]).share[0]
        return Case(own, float(reference), shares, clearances, evidence)

    def _swapped(self, fills: Int64) -> Float64:
        """[2,n] scores of the region on the fills, and of the fills in the region."""
        fill, side = np.repeat(1 + fills, ROWS_PER_FILL), np.tile([INSIDE, OUTSIDE], len(fills))
        parts = []
        for at in range(0, len(fill), BATCH):
            rows = self._rows(len(fill[at : at + BATCH]))
            rows.fill[:], rows.side[:] = fill[at : at + BATCH], side[at : at + BATCH]
            parts.append(score(self._logits(rows), self._best, SCORE))
        return np.concatenate(parts).reshape(-1, ROWS_PER_FILL).T


def stopped(cases: list[Case], boundary: float) -> dict[str, object]:
    """Runs that stop at one height of the boundary, against the reference."""
    stopping = Stopping(LONGEST.checkpoints, boundary)
    ends: list[tuple[Case, int, str, bool]] = []
    for case in cases:
        for k, count in enumerate(FILL_CHECKPOINTS[: len(case.shares)]):
            rows = ROWS_PER_FILL * count
            if (settled := stopping.settled(rows, case.clearances[k])) is not None:
                ends.append((case, 1 + rows, settled, case.shares[k] >= 0.5))
                break
    decided = [(case, valid) for case, _, settled, valid in ends if settled == "decided"]
    return {
        "boundary": boundary,
        "cases": len(cases),
        "forwards_mean": round(float(np.mean([forwards for _, forwards, _, _ in ends])), 1),
        "forwards_median": float(np.median([forwards for _, forwards, _, _ in ends])),
        "capped": share([settled == "capped" for _, _, settled, _ in ends]),
        "decided_right": share([(case.reference >= 0.5) == valid for case, valid in decided]),
        "decided_and_far_right": share([(case.reference >= 0.5) == valid for case, valid in decided if case.far]),
        "valid": share([valid for *_, valid in ends]),
        "valid_by_reference": share([case.reference >= 0.5 for case, *_ in ends]),
    }


if __name__ == "__main__":
    main()
