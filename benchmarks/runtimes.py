"""Raw forwards/s of one model in the CPU runtimes and precisions, rounds interleaved in one process.

The same bare graph, the same batch in memory, each runtime with the options of its backend. In int8 the graph is
quantized as an export does it, on noise: right for speed, not for what int8 changes.

    python -m benchmarks.runtimes [--model vit_base_patch32_224] [--batch 32] [--batches 8] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.engine_share import RAW, bare_graph
from rate.backends.openvino import cpu_has_bf16
from rate.backends.process import usable_cores
from rate.export.precision.int8 import quantize

BASE = "onnxruntime_f32"
CALIBRATED = 8


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="vit_base_patch32_224")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    ladder = [("onnxruntime", "f32"), ("openvino", "f32"), *([("openvino", "bf16")] if cpu_has_bf16() else [])]
    ladder += [("openvino", "int8")]
    pixels = np.random.default_rng(1).normal(size=(arguments.batch, 3, 224, 224)).astype(np.float32)
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        graph = bare_graph(Path(folder), arguments.model)
        int8 = quantized(graph, pixels[:CALIBRATED])
        runners = {
            f"{runtime}_{precision}": RAW[runtime](int8 if precision == "int8" else graph, precision)
            for runtime, precision in ladder
        }
        for _ in range(arguments.rounds + 1):
            for name, run in runners.items():
                began = time.perf_counter()
                run(pixels, arguments.batches)
                rates.setdefault(name, []).append(arguments.batch * arguments.batches / (time.perf_counter() - began))
    measured = {name: values[1:] for name, values in rates.items()}  # the first round warms up
    record.write(
        f"runtimes_{arguments.model}",
        {
            "model": arguments.model,
            "threads": usable_cores(),
            "batch": arguments.batch,
            "batches": arguments.batches,
            "rounds": arguments.rounds,
            "forwards_per_s": {name: round(statistics.median(values), 2) for name, values in measured.items()},
            f"over_{BASE}": {
                name: {
                    "median": round(statistics.median(_ratios(values, measured[BASE])), 3),
                    "min": round(min(_ratios(values, measured[BASE])), 3),
                    "max": round(max(_ratios(values, measured[BASE])), 3),
                }
                for name, values in measured.items()
            },
        },
    )


def quantized(graph: Path, pixels: np.ndarray) -> Path:
    """The graph in int8, beside it."""
    import openvino

    name = openvino.Core().read_model(str(graph)).inputs[0].any_name
    quantize(graph, graph.with_suffix(".xml"), [{name: image[None]} for image in pixels])
    return graph.with_suffix(".xml")


def _ratios(values: list[float], base: list[float]) -> list[float]:
    return [value / other for value, other in zip(values, base, strict=True)]


if __name__ == "__main__":
    main()
