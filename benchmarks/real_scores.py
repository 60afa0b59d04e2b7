"""Scores of real photographs under many masks, kept on disk: what studies of estimators and designs are computed from.

EfficientNet-Lite0 with ImageNet weights, the class it predicts, photographs of Caltech-101; all from the folder named
by RATE_TEST_DATA. A second call with the same designs computes nothing.

    RATE_TEST_DATA=FOLDER python -m benchmarks.real_scores [--work build/real] [--images 24] [--threads 1]
"""

from __future__ import annotations

import argparse
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.designs import Antithetic, Balanced, LowDiscrepancy
from rate.artifacts.artifact import Artifact, load_artifact
from rate.backends.base import Pending
from rate.backends.batches import clean_rows
from rate.data.images.prepare import prepare
from rate.data.manifest import read_manifest
from rate.engine.choose_backend import open_backend
from rate.execution import Execution
from rate.export.export import ExportOptions, export_artifact
from rate.kernels.rise import Rise
from rate.methods import KEEP
from rate.types import Float64, Prepared, Rows

SIZE = 224
DESIGNS = {
    "levels fixed": Rise(SIZE, 7, KEEP, "fixed", 10240, 0),
    "p.5 fixed": Rise(SIZE, 7, (0.5,), "fixed", 1024, 0),
    "p.5 independent": Rise(SIZE, 7, (0.5,), "independent", 1024, 0),
    "levels independent": Rise(SIZE, 7, KEEP, "independent", 1024, 0),
    "levels antithetic": Antithetic(SIZE, 7, KEEP, "fixed", 1024, 0),
    "levels balanced": Balanced(SIZE, 7, KEEP, "fixed", 1024, 0),
    "levels low-discrepancy": LowDiscrepancy(SIZE, 7, KEEP, "fixed", 1024, 0),
    "levels coarse s5": Rise(SIZE, 5, KEEP, "fixed", 1024, 0),
}
FEW = 6
"""Photographs of every design but the first."""

SPREAD = 40
"""Photographs are taken this evenly from the whole set, whatever number of them is used."""

BATCH, SLOTS = 32, 8


@dataclass(frozen=True, eq=False)
class Scored:
    """One photograph, and the score of its predicted class under every mask of a design."""

    prepared: Prepared
    scores: Float64  # [n] logits
    clean: float
    nothing: float  # of the mean colour alone


def main() -> None:
    """Compute what is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/real"))
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    for number, (name, design) in enumerate(DESIGNS.items()):
        images = FEW if number else arguments.images
        scored(arguments.work, name, design, images, arguments.threads)


def scored(work: Path, name: str, design: Rise, images: int, threads: int = 0) -> list[Scored]:
    """``images`` photographs with their scores; from disk where they are there."""
    folder = work / name.replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    found, artifact = [], artifact_of(work)
    samples = read_manifest(Path(os.environ["RATE_TEST_DATA"]) / "caltech101-boxes" / "annotations.csv").samples
    for number, sample in enumerate(samples[:: len(samples) // SPREAD][:images]):
        prepared, path = prepare(sample, artifact.geometry), folder / f"{number}.npy"
        if not path.exists():
            np.save(path, _logits(artifact, prepared, design, threads))
            print(f"{name}: {number + 1}/{images} photographs", flush=True)
        clean, nothing, *scores = np.load(path).tolist()
        found.append(Scored(prepared, np.array(scores), clean, nothing))
    return found


def artifact_of(work: Path) -> Artifact:
    """The exported model; it is exported once."""
    if (work / "artifact").is_dir():
        return load_artifact(work / "artifact")
    weights = Path(os.environ["RATE_TEST_DATA"]) / "weights" / "tf_efficientnet_lite0.safetensors"
    classes = work / "classes.txt"
    classes.write_text("\n".join(f"class {number}" for number in range(1000)))
    return export_artifact(f"timm:tf_efficientnet_lite0:{weights}", work / "artifact", ExportOptions(classes=classes))


def _logits(artifact: Artifact, prepared: Prepared, design: Rise, threads: int) -> Float64:
    """[2 + n] logit of the predicted class: of the photograph, of the mean colour, then of every mask."""
    [head] = artifact.heads
    masks = design.draw(prepared.sample.id, 0, design.count)
    out = np.empty(2 + design.count)
    waiting: deque[tuple[slice, Pending]] = deque()

    def collect() -> None:
        part, pending = waiting.popleft()
        out[part] = pending.wait()[head.name][:, best]

    with open_backend(artifact, Execution(threads=threads)) as backend:
        backend.bind(design.perturbation, SLOTS + 1)  # the last one is the mean colour
        backend.put(0, prepared.picture)
        plain = clean_rows(design.perturbation, np.array([0, SLOTS]))
        logits = backend.submit(plain).wait()[head.name]
        best = int(logits[0].argmax())
        out[:2] = logits[:, best]
        for start in range(0, design.count, BATCH):
            part = slice(start, min(start + BATCH, design.count))
            slot = np.zeros(part.stop - start, np.int64)
            rows = Rows.under_masks(slot, masks.grid[part], masks.offset[part], fill=SLOTS)
            waiting.append((slice(2 + part.start, 2 + part.stop), backend.submit(rows)))
            while len(waiting) >= backend.depth:
                collect()
        while waiting:
            collect()
    return out


if __name__ == "__main__":
    main()
