"""A grid of 7 runs of 40 images by one process of two threads, and by two workers of one thread each, in turn.

Seconds of whole grids, the loading of the models included. Target: two workers take 0.65 of the time.

    python -m benchmarks.grid [--model test_efficientnet] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import photographs, record
from rate.config import Measurement
from rate.data.images.corrupt import parse_grid
from rate.engine.make_job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.execution import Execution
from rate.export.export import ExportOptions, export_artifact
from rate.studies.corruption_grid import evaluate_grid

IMAGES = 40


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="test_efficientnet")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    conditions = parse_grid("clean,contrast,pixelate", (1, 3, 5))
    seconds: list[list[float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, classes = photographs.write(folder, IMAGES, 1000)
        artifact = export_artifact(f"timm:{arguments.model}", folder / "artifact", ExportOptions(classes=classes))
        for k in range(arguments.rounds):
            seconds.append([])
            for workers in (1, 2):
                execution = Execution("openvino", "f32", threads=2 // workers, workers=workers, save_maps=0)
                job = job_from_artifact(artifact, data, None, Measurement(corrupt=conditions[1]), execution)
                began = time.perf_counter()
                with open_runner(artifact, job) as runner:
                    evaluate_grid(job, runner, folder / f"{k}-{workers}", conditions)
                seconds[-1].append(round(time.perf_counter() - began, 2))
            print(f"seconds by one process and by two workers: {seconds[-1]}", flush=True)
    ratios = sorted(round(two / one, 3) for one, two in seconds)
    record.write(
        "grid",
        {
            "model": arguments.model,
            "runs": len(conditions),
            "images": IMAGES,
            "seconds_of_one_and_of_two": seconds,
            "two_over_one": ratios,
            "two_over_one_median": round(statistics.median(ratios), 3),
            "target": 0.65,
        },
    )


if __name__ == "__main__":
    main()
