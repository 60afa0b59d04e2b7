"""What precisions below f32 change, and which of them the gate lets pass: towers, 50 photographs, and noise.

Of each tower and precision: the error of the scores over their spread and what the gate says, on the parity sample; the
predictions and verdicts by swaps of photographs that differ from f32's; forwards/s over f32's in the same runtime,
rounds interleaved. Halves of a GPU graph are rounded in f32, which has no speed. Then noise on f32 logits, in steps of
the spread, and the noise that a cosine of logits lets pass. Rows of other towers than
those that are named stay as they were recorded.

RATE_TEST_DATA=FOLDER python -m benchmarks.precision [--towers NAME ...] [--images 50] [--threads 1]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.caltech import PROMPTS
from benchmarks.peer_models import spread
from benchmarks.precision_noise import NoisySpec, unseen_noise, within
from rate.artifacts.artifact import Artifact
from rate.artifacts.parity import ERROR, measure, problems
from rate.artifacts.parity_sample import ParitySample, load_sample
from rate.backends.base import BackendSpec
from rate.backends.batches import clean_rows
from rate.backends.onnxruntime import OrtSpec
from rate.backends.openvino import OpenVinoSpec, cpu_has_bf16
from rate.config import Measurement
from rate.data.bank import BankDraw
from rate.data.images.prepare import prepare
from rate.data.manifest import read_manifest
from rate.engine.job import Job, decoder
from rate.engine.make_job import bank_size, job_of_samples
from rate.errors import ParityError, RateError
from rate.execution import Execution
from rate.export.export import ExportOptions, export_artifact
from rate.export.precision.half import halve
from rate.export.precision.half_proof import write_rounded
from rate.studies.flips import Answers, answers, flips_between
from rate.types import Sample

CLASSES = 1000
CALIBRATED = 30
ROUNDS, BATCHES, BATCH = 5, 3, 32
NOISE = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Standard deviations of noise, as shares of the spread."""


@dataclass(frozen=True)
class Tower:
    """A model, and whether the classes of the photographs are among its own ones."""

    source: str
    trained: bool
    zero_shot: bool = False


def towers(data: Path) -> dict[str, Tower]:
    """The models by name."""
    weights, encoder = data / "weights" / "tf_efficientnet_lite0.safetensors", data / "open_clip_efflite0_caltech"
    return {
        "tf_efficientnet_lite0": Tower(f"timm:tf_efficientnet_lite0:{weights}", True),
        "dual_encoder": Tower(f"open_clip:local-dir:{encoder}", True, zero_shot=True),
        "resnet18_random": Tower("timm:resnet18", False),
        "vit_base_patch32_224_random": Tower("timm:vit_base_patch32_224", False),
    }


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    known = towers(Path(os.environ.get("RATE_TEST_DATA", "")))
    parser.add_argument("--towers", nargs="+", choices=list(known), default=list(known))
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    photographs = Path(os.environ.get("RATE_TEST_DATA", "")) / "caltech101-boxes" / "annotations.csv"
    if not photographs.is_file():
        raise SystemExit("RATE_TEST_DATA must name a folder with caltech101-boxes; see CONTRIBUTING.md")
    figures: dict[str, Any] = {"threads": arguments.threads, "allowed_error": ERROR}
    figures |= {"noise_that_a_cosine_lets_pass": list(unseen_noise()), **rows_of_others(arguments.towers)}
    for name in arguments.towers:
        with tempfile.TemporaryDirectory() as folder:
            trial = Trial(name, known[name], photographs, Path(folder), arguments.images, arguments.threads)
            figures["rows"] += trial.precisions()
            if known[name].trained:
                figures["noise_on_f32"] += trial.noises()
        record.write("precision", figures)  # after every tower, since all of them take long


def rows_of_others(towers: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The recorded rows of towers that are not measured now."""
    path = record.RESULTS / "precision.json"
    recorded = json.loads(path.read_text())["figures"] if path.is_file() else {}
    kinds = ("noise_on_f32", "rows")
    return {kind: [row for row in recorded.get(kind, []) if row["tower"] not in towers] for kind in kinds}


class Trial:
    """One tower with its artifact, photographs and f32 answers."""

    def __init__(self, name: str, tower: Tower, photographs: Path, folder: Path, images: int, threads: int) -> None:
        self._name, self._threads, self._folder = name, threads, folder
        self._tower = tower
        labels = sorted({sample.label for sample in read_manifest(photographs).samples})
        self._classes = self._write_classes(labels)
        self._artifact = self._export("f32", None)
        self._manifest = self._write_manifest(photographs)
        self._sample = load_sample(self._artifact)
        self._job = self._make_job(self._artifact, images)
        self._f32 = OpenVinoSpec(self._artifact.graph(), "f32", threads)
        self._expected: Answers = answers(self._job, self._f32)

    def precisions(self) -> Iterator[dict[str, Any]]:
        """Measure f32 in two runtimes, bf16 and int8 where the CPU runs, and the rounded halves."""
        graph = self._artifact.graph()
        specs: dict[str, OpenVinoSpec] = {"f32": self._f32}
        specs |= {"bf16": OpenVinoSpec(graph, "bf16", self._threads)} if cpu_has_bf16() else {}
        yield self._row("onnxruntime f32", OrtSpec(graph, self._threads), self._sample)
        refused: dict[str, str] = {}
        int8 = None
        try:
            int8 = self._export("int8", self._manifest)
            specs["int8"] = OpenVinoSpec(int8.graph(precision="int8"), "int8", self._threads)
        except ParityError as error:
            refused["int8"] = str(error)
        speeds = self._speeds(specs)
        for precision, spec in specs.items():
            sample = self._sample if precision != "int8" or int8 is None else load_sample(int8, precision="int8")
            yield self._row(f"openvino {precision}", spec, sample) | speeds[precision]
        for precision, why in refused.items():
            yield {"tower": self._name, "runtime": f"openvino {precision}", "accepted": False, "why": why}
        for precision in ("fp16", "bf16"):
            half, trial = (self._artifact.path / f"{stem}.onnx" for stem in ("half", "rounded"))
            try:
                halve(graph.path, half, precision)
            except RateError as error:
                why = str(error).partition(";")[0]
                yield {"tower": self._name, "runtime": f"half {precision}", "accepted": False, "why": why}
                continue
            write_rounded(half, trial, precision)
            rounded = OrtSpec(replace(graph, path=trial), self._threads)
            yield self._row(f"half {precision}, rounded", rounded, self._sample, precision)

    def noises(self) -> Iterator[dict[str, Any]]:
        """Measure noise on f32 logits: the steps say where verdicts begin to change."""
        for share in NOISE:
            sigmas = {head: share * within(self._sample, head) for head in self._sample.logits}
            yield {"noise_over_spread": share} | self._row("noise", NoisySpec(self._f32, sigmas), self._sample, "bf16")

    def _row(
        self, runtime: str, spec: BackendSpec, sample: ParitySample, precision: str | None = None
    ) -> dict[str, Any]:
        parity = measure(sample, spec, precision)
        wrong = problems(parity)
        flips = flips_between(self._job, answers(self._job, spec), self._expected)
        figures = {
            "tower": self._name,
            "runtime": runtime,
            "max_abs": _digits(max(parity.max_abs.values())),
            "error_over_spread": _digits(max(parity.error.values())),
            "clear_flips_of_sample": sum(parity.predictions.values()) + sum(parity.verdicts.values()),
            "accepted": not wrong,
            "images": flips[0].samples,
            "predictions_that_differ": max(one.predictions for one in flips),
            "verdicts_that_differ": max(one.verdicts for one in flips),
            "max_abs_share": _digits(max(one.max_abs_share or 0.0 for one in flips)),
        }
        print(json.dumps(figures), flush=True)
        return figures | ({"why": "; ".join(wrong)} if wrong else {})

    def _speeds(self, specs: dict[str, OpenVinoSpec]) -> dict[str, dict[str, float]]:
        """Forwards/s of full batches over those of f32, and the seconds of one self-test."""
        rows = self._sample.rows[np.arange(BATCH) % len(self._sample.rows)]
        taken: dict[str, list[float]] = {}
        for _ in range(ROUNDS + 1):
            for precision, spec in specs.items():
                with spec.open(self._sample.perturbation, len(self._sample.pictures)) as backend:
                    self._sample.put(backend)
                    backend.submit(rows).wait()
                    began = time.perf_counter()
                    for _ in range(BATCHES):
                        backend.submit(rows).wait()
                    taken.setdefault(precision, []).append((time.perf_counter() - began) / BATCHES)
        seconds = {precision: values[1:] for precision, values in taken.items()}  # the first round warms up
        return {
            precision: {
                "speed_over_f32": _digits(
                    statistics.median(f / own for f, own in zip(seconds["f32"], values, strict=True))
                ),
                "self_test_s": _digits(statistics.median(values) * len(self._sample.rows) / BATCH),
            }
            for precision, values in seconds.items()
        }

    def _make_job(self, artifact: Artifact, images: int) -> Job:
        usual = Measurement()
        samples = read_manifest(self._manifest, split="test").samples
        draw = BankDraw(bank_size(usual), usual.seed)
        for sample in samples:
            draw.add(sample)
        chosen = tuple(samples[k] for k in spread(len(samples), images))
        bank = draw.bank(decoder(usual, artifact.geometry))
        return job_of_samples(artifact, chosen, usual, Execution(save_maps=0, threads=self._threads), bank=bank)

    def _export(self, precision: str, calibrate: Path | None) -> Artifact:
        asked: dict[str, Any] = {"classes": self._classes, "precision": precision}
        if calibrate is not None:
            # How many verdicts differ is what is measured, so it may be any number.
            asked |= {"calibrate": calibrate, "split": "train", "calibration_images": CALIBRATED, "max_flips": 1.0}
        return export_artifact(self._tower.source, self._folder / precision, ExportOptions(**asked))

    def _write_classes(self, labels: list[str]) -> Path:
        path = self._folder / ("classes.json" if self._tower.zero_shot else "classes.txt")
        if self._tower.zero_shot:
            path.write_text(json.dumps({label: PROMPTS.get(label, label) for label in labels}))
            return path
        own = [] if self._tower.trained else labels
        path.write_text("\n".join([*own, *(f"class {k}" for k in range(len(own), CLASSES))]) + "\n")
        return path

    def _write_manifest(self, photographs: Path) -> Path:
        """Write the photographs, with the model's own predictions for labels where it knows other classes."""
        samples = read_manifest(photographs).samples
        own = self._tower.trained and not self._tower.zero_shot
        labels = self._predictions(samples) if own else [sample.label for sample in samples]
        with photographs.open(newline="") as stream:
            splits = [row["split"] for row in csv.DictReader(stream)]
        path = self._folder / "manifest.csv"
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["id", "image", "label", "split", "x0", "y0", "x1", "y1"])
            for sample, label, split in zip(samples, labels, splits, strict=True):
                link = self._folder / f"{len(list(self._folder.glob('*.jpg'))):04d}.jpg"
                link.write_bytes(Path(sample.image).read_bytes())
                assert sample.boxes is not None
                writer.writerow([sample.id, link.name, label, split, *sample.boxes[0]])
        return path

    def _predictions(self, samples: tuple[Sample, ...]) -> list[str]:
        head, sample = self._artifact.heads[0], load_sample(self._artifact)
        names = []
        with OrtSpec(self._artifact.graph(), self._threads).open(sample.perturbation, 1) as backend:
            for one in samples:
                backend.put(0, prepare(one, self._artifact.geometry).picture)
                logits = backend.submit(clean_rows(sample.perturbation, np.zeros(1, np.int64))).wait()
                names.append(head.classes[int(logits[head.name][0].argmax())])
        return names


def _digits(value: float) -> float:
    return float(f"{value:.3g}")


if __name__ == "__main__":
    main()
