"""The backends of `rate` on a card: the self-test, and images/s of the whole engine at a fixed number of masks.

The weights are random. Speed at a fixed number of masks does not depend on them; the number that `--masks auto` takes
does, so nothing is said about it here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import photographs
from benchmarks.gpu_speed import Figures, Scale
from rate.artifacts.artifact import Artifact
from rate.config import Measurement
from rate.engine.evaluate import evaluate
from rate.engine.job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.errors import RateError
from rate.execution import Execution
from rate.export.export import ExportOptions, export_artifact
from rate.export.tensorrt import build_plan

_ON_GPU = (("torch", "fp16"), ("onnxruntime", "fp16"), ("tensorrt", "fp16"))
_ON_CPU = (("torch", "f32"), ("onnxruntime", "f32"))


def measured(device: str, scale: Scale, folder: Path) -> Iterator[Figures]:
    """One row a backend of ``device``, cpu or cuda; one that is not there, or fails its self-test, says why."""
    data, classes = photographs.write(folder, scale.images, 1000)
    options = ExportOptions(classes=classes, precision="fp16")
    artifact = export_artifact(f"timm:{scale.models[0]}", folder / "artifact", options)
    for name, precision in _ON_CPU if device == "cpu" else _ON_GPU:
        row: Figures = {"backend": name, "precision": precision, "model": scale.models[0]}
        try:
            if name == "tensorrt":
                build_plan(artifact, precision, (scale.batch,))
            execution = Execution(backend=name, precision=precision, device=device, batch=scale.batch)
            yield row | _engine(artifact, execution, data, scale, folder / name)
        except Exception as error:  # a defect of one backend must not cost the figures of the others
            yield row | {"measured": False, "why": str(error) if isinstance(error, RateError) else repr(error)}


def _engine(artifact: Artifact, execution: Execution, data: Path, scale: Scale, runs: Path) -> Figures:
    job = job_from_artifact(artifact, data, None, Measurement(masks=scale.masks), execution)
    runs.mkdir()
    with open_runner(artifact, job) as runner:
        evaluate(job, runner, runs / "warm")
        began = time.perf_counter()
        evaluate(job, runner, runs / "run")
        took = time.perf_counter() - began
    return {
        "measured": True,
        "masks": scale.masks,
        "images_per_s": len(job.samples) / took,
        "forwards_per_s": len(job.samples) * (1 + job.method.count) / took,
    }
