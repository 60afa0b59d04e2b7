"""Forwards/s of the token form over those of the pixel form: same images, same number of masks, half of the patches.

Whole runs of the engine (decode, schedule, forward, fold, verdict, store), clean rows included, in rounds that take the
forms in turn in one process; model loading is outside. Random weights: they change no time. Target: 1.8.

    python -m benchmarks.tokens [--models vit_base_patch32_224 vit_base_patch16_224] [--masks 255] [--images 2]
        [--batch 32] [--rounds 5] [--backends onnxruntime:f32 openvino:f32 openvino:bf16]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import photographs, record
from rate.artifacts.artifact import Artifact
from rate.backends.process import usable_cores
from rate.config import Measurement
from rate.engine.evaluate import evaluate
from rate.engine.job import Job
from rate.engine.make_job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.execution import Execution
from rate.export.export import ExportOptions, export_artifact

FORMS = {"pixels": "rise", "tokens": "rise-tokens"}


def main() -> None:
    """Measure and record one file a model and backend."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=["vit_base_patch32_224", "vit_base_patch16_224"])
    parser.add_argument("--backends", nargs="+", default=["onnxruntime:f32", "openvino:f32", "openvino:bf16"])
    parser.add_argument("--masks", type=int, default=255)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        data, classes = photographs.write(Path(name), arguments.images, 1000)
        for model in arguments.models:
            options = ExportOptions(classes=classes, tokens=True)
            artifact = export_artifact(f"timm:{model}", Path(name) / model, options)
            for backend in arguments.backends:
                execution = Execution(*backend.split(":"), arguments.batch)
                jobs = {
                    form: job(artifact, data, saliency, arguments.masks, execution) for form, saliency in FORMS.items()
                }
                rounds = measure(artifact, jobs, arguments.rounds)
                write(model, execution, arguments, rounds)


def job(artifact: Artifact, data: Path, saliency: str, masks: int, execution: Execution) -> Job:
    """A run of one form; both keep half."""
    return job_from_artifact(artifact, data, None, Measurement(saliency=saliency, masks=masks, keep=0.5), execution)


def measure(artifact: Artifact, jobs: dict[str, Job], rounds: int) -> list[dict[str, float]]:
    """Forwards/s of each form, round by round; the first round warmed up and is left out."""
    found: list[dict[str, float]] = []
    with ExitStack() as stack:
        runners = {form: stack.enter_context(open_runner(artifact, one)) for form, one in jobs.items()}
        out = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for k in range(rounds + 1):
            pace = {}
            for form, one in jobs.items():
                began = time.perf_counter()
                evaluate(one, runners[form], out / f"{form}{k}")
                pace[form] = len(one.samples) * (1 + one.method.count) / (time.perf_counter() - began)
            found.append(pace)
    return found[1:]


def write(model: str, execution: Execution, arguments: argparse.Namespace, rounds: list[dict[str, float]]) -> None:
    """Record the ratios with what they were measured under."""
    ratios = [pace["tokens"] / pace["pixels"] for pace in rounds]
    record.write(
        f"tokens_{model}_{execution.backend}_{execution.precision}",
        {
            "model": model,
            "backend": execution.backend,
            "precision": execution.precision,
            "threads": usable_cores(),
            "batch": execution.batch,
            "masks": arguments.masks,
            "images": arguments.images,
            "rounds": len(rounds),
            "pixels_forwards_per_s": round(statistics.median(pace["pixels"] for pace in rounds), 2),
            "tokens_forwards_per_s": round(statistics.median(pace["tokens"] for pace in rounds), 2),
            "tokens_over_pixels": round(statistics.median(ratios), 3),
            "min": round(min(ratios), 3),
            "max": round(max(ratios), 3),
            "target": 1.8,
        },
    )


if __name__ == "__main__":
    main()
