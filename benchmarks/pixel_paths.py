"""What the pixel path changes in verdicts by swaps on photographs: torchvision against Pillow, sample by sample.

The model is the dual encoder of RATE_TEST_DATA, in f32 on ONNX Runtime. With --against the answers of Pillow are also
held against those that another version of `rate` kept with --keep.

    RATE_TEST_DATA=FOLDER python -m benchmarks.pixel_paths [--split test] [--keep FILE] [--against FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from benchmarks import record
from rate.backends.onnxruntime import OrtSpec
from rate.config import Measurement
from rate.engine.make_job import job_from_artifact
from rate.execution import Execution
from rate.export.export import ExportOptions, export_artifact
from rate.records import plain
from rate.studies.flips import Answer, Answers, answers, flips_between

MODEL = "open_clip_efflite0_caltech"
PATHS = ("pillow", "torchvision")


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--split", default="test")
    parser.add_argument("--keep", type=Path, help="where the answers of Pillow go")
    parser.add_argument("--against", type=Path, help="answers of another version")
    arguments = parser.parse_args()
    data = Path(os.environ["RATE_TEST_DATA"])
    names = json.loads((data / MODEL / "class_prompts.json").read_text())
    manifest = data / "caltech101-boxes" / "annotations.csv"
    with tempfile.TemporaryDirectory() as folder:
        labels = sorted({line.split(",")[1] for line in manifest.read_text().splitlines()[1:]})
        classes = Path(folder) / "classes.txt"
        classes.write_text("".join(f"{label}\t{names[label]}\n" for label in labels))
        options = ExportOptions(classes=classes)
        artifact = export_artifact(f"open_clip:local-dir:{data / MODEL}", Path(folder) / "artifact", options)
        found: dict[str, Answers] = {}
        for path in PATHS:
            job = job_from_artifact(artifact, manifest, arguments.split, Measurement(pixel_path=path), Execution())
            found[path] = answers(job, OrtSpec(artifact.graph()))
    if arguments.keep:
        kept = [[*key, one.prediction, one.valid, one.share] for key, one in found["pillow"].items()]
        arguments.keep.write_text(json.dumps(kept))
    figures = {"torchvision_against_pillow": plain(flips_between(job, found["torchvision"], found["pillow"]))}
    if arguments.against:
        before = {(key, head): Answer(*rest) for key, head, *rest in json.loads(arguments.against.read_text())}
        figures["against_the_other_version"] = plain(flips_between(job, found["pillow"], before))
    record.write("pixel_paths", {"model": MODEL, "samples": len(job.samples), "split": arguments.split} | figures)


if __name__ == "__main__":
    main()
