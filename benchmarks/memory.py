"""Peak memory of an evaluation: against the number of samples, and against the number of masks. Target: + 5 % at most.

Every run is a process of its own, and reads tar shards. The model is a few layers on small images, so that the engine's
own memory shows; the samples are a few photographs under many ids, cut to that size.

    python -m benchmarks.memory [--samples 1000 100000] [--masks 256 4000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks import photographs, record
from rate.data.formats.pack import pack
from rate.export.export import ExportOptions, export_artifact

SIZE, FILES, CLASSES = 64, 50, 4
FEW_MASKS, FEW_SAMPLES = 10, 60
"""Of the runs that grow in samples, and of those that grow in masks."""

RUN = """
import re, sys
from pathlib import Path
from rate.config import Measurement
from rate.execution import Execution
from rate.engine.make_job import job_from_artifact
from rate.engine.evaluate import evaluate
from rate.engine.open_runner import open_runner
from rate.artifacts.artifact import load_artifact

artifact, execution = load_artifact(Path(sys.argv[1])), Execution(backend="onnxruntime", save_maps=0)
job = job_from_artifact(artifact, sys.argv[2], None, Measurement(masks=int(sys.argv[3])), execution)
with open_runner(artifact, job) as runner:
    summary = evaluate(job, runner, Path(sys.argv[4]))
assert summary.samples == len(job.samples)
# Not getrusage: its peak is inherited from the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, nargs=2, default=(1000, 100_000))
    parser.add_argument("--masks", type=int, nargs=2, default=(256, 4000))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder)
        artifact = small_artifact(folder)
        by_samples = {n: _peak(folder, artifact, n, FEW_MASKS) for n in arguments.samples}
        by_masks = {n: _peak(folder, artifact, FEW_SAMPLES, n) for n in arguments.masks}
    record.write(
        "memory",
        {
            "peak_mb_by_samples": by_samples,
            "samples_ratio": round(by_samples[arguments.samples[1]] / by_samples[arguments.samples[0]], 4),
            "masks_of_those": FEW_MASKS,
            "peak_mb_by_masks": by_masks,
            "masks_ratio": round(by_masks[arguments.masks[1]] / by_masks[arguments.masks[0]], 4),
            "samples_of_those": FEW_SAMPLES,
            "target": 1.05,
        },
    )


def write_images(folder: Path) -> None:
    """A few photographs of `SIZE` pixels, 0.jpg and so on."""
    photographs.write(folder, FILES, CLASSES)
    for k in range(FILES):
        with Image.open(folder / f"{k}.jpg") as image:
            image.resize((SIZE, SIZE)).save(folder / f"{k}.jpg", quality=80)


def small_artifact(folder: Path) -> Path:
    """A model of a few layers for such images."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * (SIZE // 8) ** 2, CLASSES))
    example = torch.zeros(3, 3, SIZE, SIZE)
    torch.onnx.export(
        model.eval(),
        (example,),
        str(folder / "model.onnx"),
        dynamo=True,
        opset_version=20,
        dynamic_shapes=({0: "B"},),
        verbose=False,
    )
    (folder / "classes.txt").write_text("".join(f"class {k}\n" for k in range(CLASSES)))
    options = ExportOptions(classes=folder / "classes.txt", size=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3)
    return export_artifact(f"onnx:{folder / 'model.onnx'}", folder / "artifact", options).path


def _peak(folder: Path, artifact: Path, samples: int, masks: int) -> float:
    """Largest resident set of one evaluation, MB."""
    manifest = folder / f"{samples}-{masks}.csv"
    rows = (f"{k},{k % FILES}.jpg,class {k % CLASSES},10,10,40,40" for k in range(samples))
    manifest.write_text("\n".join(["id,image,label,x0,y0,x1,y1", *rows]) + "\n")
    shards = pack(str(manifest), folder / f"shards-{samples}-{masks}").pattern
    command = [sys.executable, "-c", RUN, *map(str, (artifact, shards, masks, folder / f"run-{samples}-{masks}"))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return round(float(done.stdout.split()[-1]), 1)


if __name__ == "__main__":
    main()
