"""What stopping early costs and saves where swaps decide, on real photographs: against fills that no run has met.

Each photograph of `benchmarks.real_scores` is held against its own box and regions of 10 % to 90 % of the image. It
meets photographs of other classes from one half of the set as `order_met` has it; the reference meets
as many from the other half, in the same way. A reference that is beyond doubt after 16 fills ends there.

    RATE_TEST_DATA=FOLDER python -m benchmarks.swap_stopping [--work build/real] [--images 16] [--regions 130]
"""

from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.real_scores import SPREAD, artifact_of
from benchmarks.stopping import drawn_regions, share
from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend
from rate.backends.batches import clean_rows
from rate.config import MOST_FILLS
from rate.data.images.prepare import prepare
from rate.data.manifest import read_manifest
from rate.engine.choose_backend import open_backend
from rate.engine.verdicts.stopping import FILL_CHECKPOINTS, Stopping, stopping_of_swaps
from rate.execution import Execution
from rate.kernels.region import hidden_steps, sketch
from rate.kernels.score import score
from rate.kernels.separable import rise
from rate.kernels.swap import ROWS_PER_FILL, clearance, shapley_values
from rate.types import INSIDE, OUTSIDE, Bool, Float64, HeadValues, Int64, Prepared, Rows, Sample, Scores

FAR = 0.05
"""Distance of the share from one half from which a verdict should be beyond doubt."""

BEYOND_DOUBT = 6.0
"""Standard errors after `FIRST` fills with which a reference ends."""

FIRST = 16
BATCH = 32
SCORE = "centred"
BOUNDARIES = (1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4)
RULES = [
    Stopping(stopping_of_swaps("auto", MOST_FILLS, ROWS_PER_FILL).checkpoints, boundary) for boundary in BOUNDARIES
]


@dataclass(frozen=True, eq=False)
class Case:
    """One photograph and one region: the scores of a run up to where every rule has ended it."""

    photograph: int
    own: bool  # the photograph's own box
    reference: float  # share by the reference
    whole: HeadValues  # [1]
    inside: Scores  # [1,n] for each fill
    outside: Scores
    nothing: Scores

    @property
    def far(self) -> bool:
        """Whether the reference is beyond doubt."""
        return abs(self.reference - 0.5) > FAR

    @cached_property
    def looks(self) -> list[tuple[int, float, float]]:
        """Rows, share and clearance at every checkpoint."""
        found = []
        for count in (count for count in FILL_CHECKPOINTS if count <= self.inside.shape[1]):
            scores = (self.whole, self.inside[:, :count], self.outside[:, :count], self.nothing[:, :count])
            values = shapley_values(*scores)
            clear = float(clearance(*scores, 0.5)[0]) if values.has_evidence[0] else 0.0
            found.append((ROWS_PER_FILL * count, float(values.share[0]), clear))
        return found

    def end(self, rule: Stopping) -> tuple[int, float, str] | None:
        """Rows and share where ``rule`` ends the run, and how; None before that."""
        for rows, measured, clear in self.looks:
            if (settled := rule.settled(rows, clear)) is not None:
                return rows, measured, settled
        return None


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
    (arguments.work / "swap_cases.pickle").write_bytes(pickle.dumps(cases))
    halves = {"all": cases} | {
        name: [case for case in cases if case.photograph % 2 == k] for k, name in enumerate(("even", "odd"))
    }
    figures: dict[str, object] = {"photographs": arguments.images, "reference_fills": MOST_FILLS, "score": SCORE}
    for name, some in halves.items():
        for title, own in (("drawn_regions", False), ("own_boxes", True)):
            figures[f"{title}_{name}"] = [stopped([case for case in some if case.own == own], rule) for rule in RULES]
    record.write("swap_stopping", figures)


def measured(artifact: Artifact, images: int, regions: int, threads: int) -> list[Case]:
    """Every photograph with its own box and ``regions`` drawn ones."""
    samples = read_manifest(Path(os.environ["RATE_TEST_DATA"]) / "caltech101-boxes" / "annotations.csv").samples
    cases: list[Case] = []
    with open_backend(artifact, Execution(threads=threads)) as backend:
        backend.bind(rise(artifact.geometry.size, 7), len(samples))
        for number, sample in enumerate(samples[:: len(samples) // SPREAD][:images]):
            photograph = Photograph(artifact, backend, sample, _others(samples, sample, number))
            for k, region in enumerate([photograph.prepared.region, *drawn_regions(_rng(number), regions)]):
                cases.append(photograph.case(number, region, own=k == 0))
            print(f"{number + 1}/{images} photographs, {backend.name} {backend.precision}", flush=True)
    return cases


def _rng(number: int) -> np.random.Generator:
    return np.random.default_rng(number)


def _others(samples: tuple[Sample, ...], sample: Sample, number: int) -> list[Sample]:
    """Photographs of other classes, by chance: the bank of the run, then that of the reference."""
    others = [other for other in samples if other.label != sample.label]
    return [others[k] for k in _rng(1000 + number).permutation(len(others))]


class Photograph:
    """A photograph in slot 0, and the two banks behind it."""

    def __init__(self, artifact: Artifact, backend: Backend, sample: Sample, others: list[Sample]) -> None:
        self._backend, self._head = backend, artifact.heads[0].name
        self.prepared: Prepared = prepare(sample, artifact.geometry)
        backend.put(0, self.prepared.picture)
        sketches = []
        for slot, other in enumerate(others, 1):
            fill = prepare(other, artifact.geometry)
            backend.put(slot, fill.picture)
            sketches.append(sketch(fill.region))
        self._sketches = np.stack(sketches)
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

    def case(self, photograph: int, region: Bool, own: bool) -> Case:
        """Swap one region: the reference, then the run until every rule has ended it."""
        self._backend.put(0, self.prepared.picture, region * np.uint8(255))
        half = len(self._sketches) // 2
        reference = self._reference(self._order(region, slice(half, None)))
        met, both = self._order(region, slice(half)), np.empty((ROWS_PER_FILL, 0))
        for count in FILL_CHECKPOINTS:
            both = np.concatenate([both, self._swapped(met[both.shape[1] : count])], axis=1)
            nothing = self._nothing[None, met[:count]]
            case = Case(photograph, own, reference, self._whole, both[:1], both[1:], nothing)
            if all(case.end(rule) is not None for rule in RULES):
                break
        return case

    def _order(self, region: Bool, bank: slice) -> Int64:
        """[n] the fills of a bank that a region meets; chance has ordered them already."""
        hidden = hidden_steps(self._sketches[bank], sketch(region))
        return np.asarray((bank.start or 0) + np.sort(np.argsort(-hidden, kind="stable")[:MOST_FILLS]))

    def _reference(self, met: Int64) -> float:
        """The share by the fills ``met``."""
        both = self._swapped(met[:FIRST])
        nothing = self._nothing[None, met[:FIRST]]
        share = float(shapley_values(self._whole, both[:1], both[1:], nothing).share[0])
        clear = float(clearance(self._whole, both[:1], both[1:], nothing, 0.5)[0])
        if abs(clear) > BEYOND_DOUBT and abs(share - 0.5) > 2 * FAR:
            return share
        both = np.concatenate([both, self._swapped(met[FIRST:])], axis=1)
        return float(shapley_values(self._whole, both[:1], both[1:], self._nothing[None, met]).share[0])

    def _swapped(self, fills: Int64) -> Float64:
        """[2,n] scores of the region on the fills, and of the fills in the region."""
        fill, side = np.repeat(1 + fills, ROWS_PER_FILL), np.tile([INSIDE, OUTSIDE], len(fills))
        parts = []
        for at in range(0, len(fill), BATCH):
            rows = self._rows(len(fill[at : at + BATCH]))
            rows.fill[:], rows.side[:] = fill[at : at + BATCH], side[at : at + BATCH]
            parts.append(score(self._logits(rows), self._best, SCORE))
        return np.concatenate(parts).reshape(-1, ROWS_PER_FILL).T


def stopped(cases: list[Case], rule: Stopping) -> dict[str, object]:
    """Runs that stop by one rule, against the reference."""
    ends = [(case, end) for case in cases if (end := case.end(rule)) is not None]
    assert len(ends) == len(cases)
    forwards = [1 + rows for _, (rows, _, _) in ends]
    decided = [(case, measured >= 0.5) for case, (_, measured, settled) in ends if settled == "decided"]
    return {
        "boundary": rule.boundary,
        "cases": len(cases),
        "forwards_mean": round(float(np.mean(forwards)), 1),
        "forwards_median": float(np.median(forwards)),
        "capped": share([settled == "capped" for _, (_, _, settled) in ends]),
        "decided_right": share([(case.reference >= 0.5) == valid for case, valid in decided]),
        "decided_and_far_right": share([(case.reference >= 0.5) == valid for case, valid in decided if case.far]),
        "valid": share([measured >= 0.5 for _, (_, measured, _) in ends]),
        "valid_by_reference": share([case.reference >= 0.5 for case in cases]),
    }


if __name__ == "__main__":
    main()
