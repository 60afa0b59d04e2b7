"""What a second worker brings: the same evaluation by one and by two processes of one thread each, in turn.

Images/s are of whole evaluations, the loading of the models included. Target: 1.9.

    python -m benchmarks.scale [--model vit_base_patch32_224] [--precision f32] [--images 64] [--masks 64] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import photographs, record
from rate.artifacts.artifact import Artifact
from rate.config import Measurement
from rate.engine.evaluate import evaluate
from rate.engine.make_job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.execution import Execution
from rate.export.export import ExportOptions, export_artifact


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="vit_base_patch32_224")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--masks", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, classes = photographs.write(folder, arguments.images, 1000)
        artifact = export_artifact(f"timm:{arguments.model}", folder / "artifact", ExportOptions(classes=classes))
        settings = [Execution("openvino", arguments.precision, threads=1, workers=n, save_maps=0) for n in (1, 2)]
        rounds = [
            [pace(artifact, data, arguments.masks, one, folder / f"run-{k}-{one.workers}") for one in settings]
            for k in range(arguments.rounds)
        ]
        print(f"images/s of one worker and of two, by round: {rounds}", flush=True)
    ratios = [two / one for one, two in rounds]
    record.write(
        f"scale_{arguments.precision}",
        {
            "model": arguments.model,
            "precision": arguments.precision,
            "images": arguments.images,
            "masks": arguments.masks,
            "one_worker_images_per_s": round(statistics.median(one for one, _ in rounds), 3),
            "two_workers_images_per_s": round(statistics.median(two for _, two in rounds), 3),
            "two_over_one": [round(ratio, 3) for ratio in sorted(ratios)],
            "two_over_one_median": round(statistics.median(ratios), 3),
            "target": 1.9,
        },
    )


def pace(artifact: Artifact, data: Path, masks: int, execution: Execution, out: Path) -> float:
    """Images/s of a whole evaluation, the loading of models included."""
    job = job_from_artifact(artifact, data, None, Measurement(verdict="map", masks=masks), execution)
    began = time.perf_counter()
    with open_runner(artifact, job) as runner:
        evaluate(job, runner, out)
    return len(job.samples) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
