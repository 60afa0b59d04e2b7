"""Pictures with planted reasons as a model sees them, and the logits of their masks, kept on disk once computed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.planted import SIZE
from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend, Pending
from rate.backends.batches import clean_rows
from rate.data.images.prepare import prepare
from rate.data.make.synth import CLASSES
from rate.data.manifest import read_manifest
from rate.engine.choose_backend import open_backend
from rate.execution import Execution
from rate.kernels.rise import Rise
from rate.kernels.saliency import Method
from rate.types import OUTSIDE, Bool, Float32, Float64, Prepared, Rows

TAG = round(SIZE * 0.14)
BATCH = 50
SLOTS = 8  # more than batches in flight, whatever a picture's masks
_PLAIN = Rise(SIZE, 7, (0.5,), "fixed", 2, 0).perturbation


@dataclass(frozen=True, eq=False)
class Case:
    """One picture with its regions, and what a model makes of it."""

    prepared: Prepared
    regions: dict[str, Bool]
    label: int
    clean: Float64  # [c] logits
    nothing: Float64  # [c] of the mean colour alone
    rests_as_planted: bool  # taking the reason away changes the answer, taking the other away does not

    def holds_object(self, region: str) -> bool:
        """Whether the whole object lies in the region: only then should evidence on it count as valid."""
        return not (self.regions["mask"] & ~self.regions[region]).any()


def cases_of(artifact: Artifact, data: Path, shortcut: str, kind: str) -> list[Case]:
    """Every picture of the split test, for a model of one ``kind``: object, or the name of the shortcut."""
    found = []
    with open_backend(artifact, Execution()) as backend:
        backend.bind(_PLAIN, 2)
        for sample in read_manifest(data, split="test").samples:
            prepared = prepare(sample, artifact.geometry)
            label = artifact.heads[0].classes.index(sample.label)
            regions = _regions(prepared.region, shortcut)
            hole = _grown(regions["box"], 3)
            away = _tag_block(TAG + 2) if shortcut == "tag" else ~hole
            everything = np.ones_like(hole)
            clean, nothing, no_object, no_shortcut = (
                _without(backend, prepared, gone) for gone in (~everything, everything, hole, away)
            )
            own, other = (no_object, no_shortcut) if kind == "object" else (no_shortcut, no_object)
            planted_so = own.argmax() != label and other.argmax() == label
            found.append(Case(prepared, regions, label, clean, nothing, bool(planted_so)))
    return found


def _regions(mask: Bool, shortcut: str) -> dict[str, Bool]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.zeros_like(mask)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    regions = {"mask": mask, "box": box}
    if shortcut == "tag":
        regions |= {"q75": ~_tag_block(SIZE // 2), "a96": ~_tag_block(SIZE // 5)}
    return regions


def _tag_block(side: int) -> Bool:
    block = np.zeros((SIZE, SIZE), np.bool_)
    block[:side, :side] = True
    return block


def _grown(region: Bool, by: int) -> Bool:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    grown = np.zeros_like(region)
    grown[max(rows[0] - by, 0) : rows[-1] + 1 + by, max(columns[0] - by, 0) : columns[-1] + 1 + by] = True
    return grown


def _without(backend: Backend, prepared: Prepared, gone: Bool) -> Float64:
    """Logits [c] of a picture with the mean colour, which is in slot 1, in the place of some pixels."""
    backend.put(0, prepared.picture, gone * np.uint8(255))
    rows = replace(clean_rows(_PLAIN, np.zeros(1, np.int64)), fill=np.ones(1, np.int64), side=np.full(1, OUTSIDE))
    [logits] = backend.submit(rows).wait().values()
    return logits[0].astype(np.float64)


def logits_of(work: Path, artifact: Artifact, who: str, name: str, method: Method, cases: list[Case]) -> Float32:
    """[m,n,c] logits of every mask of every case; kept on disk, so that a second call computes nothing."""
    path = work / "logits" / f"{who}-{name.replace(' ', '_').replace('/', '_')}-{len(cases)}.npy"
    if path.exists():
        return np.asarray(np.load(path))
    found = np.empty((len(cases), method.count, len(CLASSES)), np.float32)
    waiting: deque[tuple[int, slice, Pending]] = deque()
    with open_backend(artifact, Execution()) as backend:
        backend.bind(method.perturbation, SLOTS + 1)  # the last one is the mean colour
        for k, case in enumerate(cases):
            backend.put(k % SLOTS, case.prepared.picture)
            masks = method.draw(case.prepared.sample.id, 0, method.count)
            for start in range(0, method.count, BATCH):
                part = slice(start, min(start + BATCH, method.count))
                slot = np.full(part.stop - start, k % SLOTS, np.int64)
                rows = Rows.under_masks(slot, masks.grid[part], masks.offset[part], fill=SLOTS)
                waiting.append((k, part, backend.submit(rows)))
                while len(waiting) >= backend.depth:
                    _collect(waiting, found)
        while waiting:
            _collect(waiting, found)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, found)
    print(f"{who}: {name}, {len(cases)} pictures, {backend.name} {backend.precision}", flush=True)
    return found


def _collect(waiting: deque[tuple[int, slice, Pending]], found: Float32) -> None:
    k, part, pending = waiting.popleft()
    [logits] = pending.wait().values()
    found[k, part] = logits
