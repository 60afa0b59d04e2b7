"""Masked forwards/s of the whole engine over raw forwards/s of the same backend, threads and batch.

Raw: ONNX Runtime on the bare model, pre-masked images in memory. Engine: decode, schedule, perturb in the graph, fold,
verdict, store. Rounds are interleaved in one process; model loading is outside both. Target: 0.97.

    python -m benchmarks.engine_share [--model vit_base_patch32_224] [--masks 256] [--images 4] [--batch 32]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import record
from rate.backends.base import Backend, BackendSpec
from rate.backends.cores import usable_cores
from rate.config import Execution, Measurement
from rate.engine.job import Job, job_from_artifact
from rate.engine.pipeline import evaluate
from rate.engine.select import spec_for
from rate.export.api import ExportOptions, export_artifact
from rate.kernels.separable import Perturbation


@dataclass(frozen=True)
class AlreadyOpen:
    """A spec whose backend is open for the whole benchmark, so that loading the model is not timed."""

    backend: Backend
    name: str
    precision: str

    @contextmanager
    def open(self, perturbation: Perturbation, slots: int) -> Iterator[Backend]:
        """The open backend; it has the slots that a run asks for."""
        yield self.backend


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="vit_base_patch32_224")
    parser.add_argument("--masks", type=int, default=256)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measurement = Measurement(masks=arguments.masks)
        job, spec = prepare(folder, arguments.model, arguments.images, measurement, Execution(batch=arguments.batch))
        raw = raw_forward(folder, arguments.model, arguments.batch)
        with spec.open(job.method.perturbation, slots=8) as backend:
            opened = AlreadyOpen(backend, spec.name, spec.precision)
            runs = [folder / f"run{k}" for k in range(arguments.rounds + 1)]
            rounds = [measure(job, opened, raw, arguments.batch, run) for run in runs]
    shares = [engine / bare for engine, bare in rounds[1:]]  # the first round warms up
    record.write(
        f"engine_share_{arguments.model}",
        {
            "model": arguments.model,
            "backend": spec.name,
            "precision": spec.precision,
            "threads": usable_cores(),
            "batch": arguments.batch,
            "masks": arguments.masks,
            "images": arguments.images,
            "rounds": arguments.rounds,
            "raw_forwards_per_s": round(statistics.median(bare for _, bare in rounds[1:]), 2),
            "engine_forwards_per_s": round(statistics.median(engine for engine, _ in rounds[1:]), 2),
            "engine_over_raw": round(statistics.median(shares), 4),
            "engine_over_raw_min": round(min(shares), 4),
            "engine_over_raw_max": round(max(shares), 4),
            "target": 0.97,
        },
    )


def prepare(
    folder: Path, model: str, images: int, measurement: Measurement, execution: Execution
) -> tuple[Job, BackendSpec]:
    """An artifact with random weights and a small set of photographs' size."""
    classes = folder / "classes.txt"
    classes.write_text("\n".join(f"class {k}" for k in range(1000)))
    artifact = export_artifact(f"timm:{model}", folder / "artifact", ExportOptions(classes=classes))
    rng = np.random.default_rng(0)
    rows = ["image,label,x0,y0,x1,y1"]
    for k in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{k}.jpg", quality=92)
        rows.append(f"{k}.jpg,class {k},120,80,360,300")
    (folder / "data.csv").write_text("\n".join(rows) + "\n")
    return job_from_artifact(artifact, folder / "data.csv", None, measurement, execution), spec_for(artifact, execution)


def raw_forward(folder: Path, model: str, batch: int) -> object:
    """ONNX Runtime session of the bare model, with the options of the backend."""
    import onnxruntime
    import timm
    import torch

    path = folder / "bare.onnx"
    bare = timm.create_model(model, pretrained=False, num_classes=1000).eval()
    example = torch.randn(3, 3, 224, 224)
    torch.onnx.export(
        bare, (example,), str(path), dynamo=True, opset_version=20, dynamic_shapes=({0: "B"},), verbose=False
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = usable_cores(), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def measure(job: Job, spec: BackendSpec, raw: object, batch: int, run: Path) -> tuple[float, float]:
    """(engine, raw) forwards/s over the same number of full batches, one after the other."""
    rows = len(job.samples) * (1 + job.method.count)
    began = time.perf_counter()
    evaluate(job, spec, run)
    engine = rows / (time.perf_counter() - began)
    pixels = np.random.default_rng(1).normal(size=(batch, 3, 224, 224)).astype(np.float32)
    name = raw.get_inputs()[0].name
    batches = -(-rows // batch)
    began = time.perf_counter()
    for _ in range(batches):
        raw.run(None, {name: pixels})
    return engine, batches * batch / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
