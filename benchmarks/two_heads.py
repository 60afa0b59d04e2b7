"""Time of a run with a zero-shot and a linear head on one tower, over the same run with one head. Target: 1.05.

python -m benchmarks.two_heads [--model ViT-B-32-quickgelu] [--masks 128] [--images 4] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import photographs, record
from rate.config import Measurement
from rate.engine.evaluate import evaluate
from rate.engine.make_job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.execution import Execution
from rate.export.export import ExportOptions, export_artifact
from rate.finetune.lp import LpSettings, finetune_lp


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="ViT-B-32-quickgelu")
    parser.add_argument("--masks", type=int, default=128)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    source = f"open_clip:{arguments.model}"
    measurement, execution = Measurement(masks=arguments.masks), Execution()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        data, classes = photographs.write(folder, arguments.images, 2)
        finetune_lp(source, data, folder / "lp", LpSettings(split=None, epochs=2))
        two = export_artifact(
            source, folder / "two", ExportOptions(classes=classes, heads=(f"lp=linear:{folder / 'lp'}",))
        )
        one = export_artifact(source, folder / "one", ExportOptions(classes=classes))
        jobs = [(artifact, job_from_artifact(artifact, data, None, measurement, execution)) for artifact in (one, two)]
        runners = [stack.enter_context(open_runner(artifact, job)) for artifact, job in jobs]
        ratios = []
        for k in range(arguments.rounds + 1):
            times = []
            for number, ((_, job), runner) in enumerate(zip(jobs, runners, strict=True)):
                summary = evaluate(job, runner, folder / f"run-{k}-{number}")
                times.append(1.0 / summary.throughput.images_per_s)
            ratios.append(times[1] / times[0])
        record.write(
            "two_heads",
            {
                "model": source,
                "backend": runners[0].backend,
                "precision": runners[0].precision,
                "masks": arguments.masks,
                "images": arguments.images,
                "rounds": arguments.rounds,
                "two_heads_over_one": round(statistics.median(ratios[1:]), 4),
                "min": round(min(ratios[1:]), 4),
                "max": round(max(ratios[1:]), 4),
                "target": 1.05,
            },
        )


if __name__ == "__main__":
    main()
