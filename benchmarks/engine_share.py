"""Masked forwards/s of the whole engine over raw forwards/s of the same backend, threads and batch.

Raw: the same runtime on the bare model, pre-masked images in memory, as many batches in flight.
Engine: decode, schedule, perturb in the graph, fold,
verdict, store. Rounds are interleaved in one process; model loading is outside both. Target: 0.97.

    python -m benchmarks.engine_share [--model vit_base_patch32_224] [--masks 256] [--images 4] [--batch 32]
        [--backend onnxruntime|openvino] [--precision f32|bf16]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import photographs, record
from rate.artifacts.artifact import Artifact
from rate.backends.process import usable_cores
from rate.config import Measurement
from rate.engine.evaluate import evaluate
from rate.engine.job import Job
from rate.engine.make_job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.engine.outcome import Runner
from rate.execution import Execution
from rate.export.export import ExportOptions, export_artifact


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="vit_base_patch32_224")
    parser.add_argument("--masks", type=int, default=256)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", default="onnxruntime", choices=sorted(RAW))
    parser.add_argument("--precision", default="f32")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measurement = Measurement(masks=arguments.masks)
        execution = Execution(arguments.backend, arguments.precision, arguments.batch)
        artifact, job = prepare(folder, arguments.model, arguments.images, measurement, execution)
        raw = RAW[arguments.backend](bare_graph(folder, arguments.model), arguments.precision)
        with open_runner(artifact, job) as runner:
            runs = [folder / f"run{k}" for k in range(arguments.rounds + 1)]
            rounds = [measure(job, runner, raw, arguments.batch, run) for run in runs]
    shares = [engine / bare for engine, bare in rounds[1:]]  # the first round warms up
    record.write(
        f"engine_share_{arguments.model}_{runner.backend}_{runner.precision}",
        {
            "model": arguments.model,
            "backend": runner.backend,
            "precision": runner.precision,
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
) -> tuple[Artifact, Job]:
    """An artifact with random weights and a small set of photographs' size."""
    data, classes = photographs.write(folder, images, 1000)
    artifact = export_artifact(f"timm:{model}", folder / "artifact", ExportOptions(classes=classes))
    return artifact, job_from_artifact(artifact, data, None, measurement, execution)


def bare_graph(folder: Path, model: str) -> Path:
    """The model without perturbation, as one would export it."""
    import timm
    import torch

    path = folder / "bare.onnx"
    bare = timm.create_model(model, pretrained=False, num_classes=1000).eval()
    example = torch.randn(3, 3, 224, 224)
    torch.onnx.export(
        bare, (example,), str(path), dynamo=True, opset_version=20, dynamic_shapes=({0: "B"},), verbose=False
    )
    return path


Raw = Callable[[np.ndarray, int], None]
"""Runs the same batch of images so many times."""


def raw_onnxruntime(graph: Path, precision: str) -> Raw:
    """ONNX Runtime with the options of the backend."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = usable_cores(), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(pixels: np.ndarray, batches: int) -> None:
        for _ in range(batches):
            session.run(None, {name: pixels})

    return run


def raw_openvino(graph: Path, precision: str) -> Raw:
    """OpenVINO with the options of the backend, two requests in flight."""
    import openvino

    streams = min(2, usable_cores())
    options = {
        "INFERENCE_PRECISION_HINT": "f32" if precision == "int8" else precision,
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": str(usable_cores()),
        "ENABLE_CPU_PINNING": False,
    }
    compiled = openvino.Core().compile_model(str(graph), "CPU", options)
    requests = [compiled.create_infer_request() for _ in range(streams)]

    def run(pixels: np.ndarray, batches: int) -> None:
        for k in range(batches):
            requests[k % streams].wait()
            requests[k % streams].start_async({0: pixels}, share_inputs=True)
        for request in requests:
            request.wait()

    return run


RAW: dict[str, Callable[[Path, str], Raw]] = {"onnxruntime": raw_onnxruntime, "openvino": raw_openvino}


def measure(job: Job, runner: Runner, raw: Raw, batch: int, run: Path) -> tuple[float, float]:
    """(engine, raw) forwards/s over the same number of full batches, one after the other."""
    rows = len(job.samples) * (1 + job.method.count)
    began = time.perf_counter()
    evaluate(job, runner, run)
    engine = rows / (time.perf_counter() - began)
    pixels = np.random.default_rng(1).normal(size=(batch, 3, 224, 224)).astype(np.float32)
    batches = -(-rows // batch)
    began = time.perf_counter()
    raw(pixels, batches)
    return engine, batches * batch / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
