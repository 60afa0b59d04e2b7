"""What a second worker brings, and what a set of a million rows costs before its first forward.

Workers: the same evaluation by one and by two processes of one thread each, in turn; images/s of whole evaluations, the
loading of the models included. Target: 1.9. Start-up: from the start of the process to the first forward, with the peak
memory then. Target: 10 s and 1 GB.

    python -m benchmarks.scale [--model vit_base_patch32_224] [--precision f32] [--images 64] [--masks 64] [--rounds 3]
        [--rows 1000000]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import memory, photographs, record
from rate.artifacts.artifact import Artifact
from rate.config import Measurement
from rate.engine.evaluate import evaluate
from rate.engine.job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.execution import Execution
from rate.export.export import ExportOptions, export_artifact

START = """
import re, sys, time
began = time.perf_counter()
from pathlib import Path
from rate.config import Measurement
from rate.execution import Execution
from rate.engine.job import job_from_artifact
from rate.engine.evaluate import evaluate
from rate.engine.open_runner import open_runner
from rate.artifacts.artifact import load_artifact

artifact, execution = load_artifact(Path(sys.argv[1])), Execution(backend="onnxruntime")
job = job_from_artifact(artifact, sys.argv[2], None, Measurement(verdict="map"), execution)
read = time.perf_counter() - began

def first(progress):
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    print(read, time.perf_counter() - began, peak, flush=True)
    sys.exit()

with open_runner(artifact, job) as runner:
    evaluate(job, runner, Path(sys.argv[3]), first)
"""


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="vit_base_patch32_224")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--masks", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000)
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
        started = start_up(folder / "start-up", arguments.rows)
    ratios = [two / one for one, two in rounds]
    record.write(
        "scale",
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
            "start_up": started,
        },
    )


def pace(artifact: Artifact, data: Path, masks: int, execution: Execution, out: Path) -> float:
    """Images/s of a whole evaluation, the loading of models included."""
    job = job_from_artifact(artifact, data, None, Measurement(verdict="map", masks=masks), execution)
    began = time.perf_counter()
    with open_runner(artifact, job) as runner:
        evaluate(job, runner, out)
    return len(job.samples) / (time.perf_counter() - began)


def start_up(folder: Path, rows: int) -> dict[str, float]:
    """Seconds until the rows are read and until the first forward is done, and the peak memory then, MB."""
    folder.mkdir()
    memory.write_images(folder)
    artifact = memory.small_artifact(folder)
    manifest = folder / "million.csv"
    with manifest.open("w") as file:
        file.write("id,image,label,x0,y0,x1,y1\n")
        for k in range(rows):
            file.write(f"{k},{k % memory.FILES}.jpg,class {k % memory.CLASSES},10,10,40,40\n")
    command = [sys.executable, "-c", START, *map(str, (artifact, manifest, folder / "million"))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    read, first, peak = map(float, done.stdout.split()[-3:])
    return {"rows": rows, "read_s": round(read, 2), "first_forward_s": round(first, 2), "peak_mb": round(peak, 1)}


if __name__ == "__main__":
    main()
