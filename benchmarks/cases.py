"""Pictures with planted reasons as a model sees them, and which of them it decides for the planted reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.planted import SIZE
from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend
from rate.backends.batches import clean_rows
from rate.data.images.prepare import prepare
from rate.data.manifest import read_manifest
from rate.engine.choose_backend import open_backend
from rate.execution import Execution
from rate.kernels.rise import Rise
from rate.types import OUTSIDE, Bool, Prepared

TAG = round(SIZE * 0.14)
_PLAIN = Rise(SIZE, 7, (0.5,), "fixed", 2, 0).perturbation


@dataclass(frozen=True, eq=False)
class Case:
    """One picture with its regions, and what a model makes of it."""

    prepared: Prepared
    regions: dict[str, Bool]
    right: bool
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
            nowhere = np.zeros_like(hole)
            clean, no_object, no_shortcut = (_answer(backend, prepared, gone) for gone in (nowhere, hole, away))
            own, other = (no_object, no_shortcut) if kind == "object" else (no_shortcut, no_object)
            found.append(Case(prepared, regions, clean == label, own != label and other == label))
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


def _answer(backend: Backend, prepared: Prepared, gone: Bool) -> int:
    """The class predicted of a picture with the mean colour, which is in slot 1, in the place of some pixels."""
    backend.put(0, prepared.picture, gone * np.uint8(255))
    rows = replace(clean_rows(_PLAIN, np.zeros(1, np.int64)), fill=np.ones(1, np.int64), side=np.full(1, OUTSIDE))
    [logits] = backend.submit(rows).wait().values()
    return int(logits[0].argmax())
