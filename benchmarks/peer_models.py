"""What the tools of `benchmarks.peers` explain: one model in every form that a tool takes, and the same images.

The bare model gives probabilities, as RISE explains them; the artifact of `rate` gives logits. Pixels come from the
geometry of `rate`, so that a peer neither decodes nor resizes while it is timed; `rate` does.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rate
from benchmarks import photographs
from benchmarks.caltech import PROMPTS
from benchmarks.peer_tools import Unavailable
from rate.artifacts.artifact import load_artifact
from rate.data.images.prepare import prepare
from rate.data.manifest import read_manifest
from rate.errors import RateError
from rate.export.options import ExportOptions
from rate.export.sources.open_source import open_source
from rate.export.sources.source_model import SourceModel
from rate.types import Prepared

PHOTOGRAPHS = 16
"""Synthetic ones; int8 is calibrated on all of them."""

CLASSES = 1000


@dataclass(frozen=True)
class Subject:
    """A model and the images that it is explained on."""

    name: str  # for the record: no folder of this machine
    source: str  # as `rate export` takes it
    classes: Path | None
    manifest: Path
    split: str | None = None
    calibration: str | None = None  # split that int8 is calibrated on
    max_flips: float = 0.02  # that int8 may bring


def synthetic(work: Path, model: str) -> Subject:
    """A timm model with random weights, always the same, on images of photographs' size."""
    folder = work / "photographs"
    folder.mkdir(parents=True, exist_ok=True)
    manifest, classes = photographs.write(folder, PHOTOGRAPHS, CLASSES)
    # Random weights answer at random, and int8 changes that at will: it is measured for its speed alone.
    return Subject(f"timm:{model}", f"timm:{model}", classes, manifest, max_flips=1.0)


def trained(work: Path) -> Subject:
    """The image-text model and the photographs in the folder that RATE_TEST_DATA names.

    Raises:
        Unavailable: there is none.
    """
    folder = Path(os.environ.get("RATE_TEST_DATA", ""))
    manifest, model = folder / "caltech101-boxes" / "annotations.csv", folder / "open_clip_efflite0_caltech"
    if not (manifest.is_file() and model.is_dir()):
        raise Unavailable(
            f"RATE_TEST_DATA is {str(folder)!r}, which does not hold caltech101-boxes and open_clip_efflite0_caltech; "
            "name such a folder, or give --model, --data and --classes"
        )
    work.mkdir(parents=True, exist_ok=True)
    labels = dict.fromkeys(sample.label for sample in read_manifest(manifest).samples)
    prompts = work / "prompts.json"
    prompts.write_text(json.dumps({label: PROMPTS.get(label, label) for label in labels}))
    return Subject(model.name, f"open_clip:local-dir:{model}", prompts, manifest, "test", "train")


def spread(count: int, images: int) -> list[int]:
    """``images`` of ``count`` rows, evenly over all of them."""
    if not 1 <= images <= count:
        raise SystemExit(f"--images {images}: the data has {count} images; give a number from 1 to {count}")
    return [k * count // images for k in range(images)]


class Forms:
    """A subject in all its forms, made in ``folder`` where they are not there yet."""

    def __init__(self, subject: Subject, folder: Path, images: int) -> None:
        about = hashlib.sha256(repr(subject).encode())
        for path in filter(None, (subject.manifest, subject.classes)):
            about.update(path.read_bytes())
        self.folder = folder / about.hexdigest()[:12]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._subject = subject
        artifact = self.folder / "artifact"
        if not (artifact / "artifact.json").exists():
            rate.export(subject.source, artifact, classes=subject.classes)
        self._loaded = load_artifact(artifact)
        self.head = self._loaded.heads[0]
        samples = read_manifest(subject.manifest, split=subject.split).samples
        self.samples = [samples[k] for k in spread(len(samples), images)]
        if foreign := {sample.label for sample in self.samples} - set(self.head.classes):
            raise SystemExit(f"{min(foreign)!r} in {subject.manifest} is not a class of the model; see `rate inspect`")
        self.targets = [self.head.classes.index(sample.label) for sample in self.samples]

    def setup(self, files: Sequence[str], options: dict[str, Any], threads: int) -> dict[str, Any]:
        """What a worker is told: the forms in ``files`` and what all need.

        Raises:
            Unavailable: a form cannot be made.
        """
        geometry = self._loaded.geometry
        known = {"ids": [sample.id for sample in self.samples], "split": self._subject.split}
        return {
            "files": {name: str(getattr(self, name)()) for name in files},
            "targets": self.targets,
            "threads": threads,
            "options": {"mean": list(geometry.mean), "std": list(geometry.std)} | known | options,
        }

    def manifest(self) -> Path:
        """The images with their regions, for `rate`."""
        return self._subject.manifest.resolve()

    def artifact(self) -> Path:
        """The artifact in f32."""
        return self._loaded.path.resolve()

    def artifact_int8(self) -> Path:
        """The artifact in f32 and int8.

        Raises:
            Unavailable: it cannot be made.
        """
        path, subject = (self.folder / "artifact-int8").resolve(), self._subject
        if not (path / "artifact.json").exists():
            try:
                rate.export(
                    subject.source,
                    path,
                    classes=subject.classes,
                    precision="int8",
                    calibrate=subject.manifest,
                    split=subject.calibration,
                    max_flips=subject.max_flips,
                )
            except RateError as error:
                raise Unavailable(f"no int8 artifact: {error}") from error
        return path

    def pixels(self) -> Path:
        """f32 [k,3,h,w] of the images."""
        path = (self.folder / "pixels.npy").resolve()
        np.save(path, np.stack([one.picture.pixels for one in self._prepared()]))
        return path

    def pictures(self) -> Path:
        """u8 [k,h,w,3] of the images."""
        path = (self.folder / "pictures.npy").resolve()
        np.save(path, np.stack([one.picture.view for one in self._prepared()]))
        return path

    def onnx(self) -> Path:
        """Pixels [b,3,h,w] to probabilities [b,c], an ONNX graph with a free batch."""
        path = (self.folder / "bare.onnx").resolve()
        if not path.exists():
            self._write_bare()
        return path

    def torch(self) -> Path:
        """The same as a pickled module."""
        path = (self.folder / "bare.pt").resolve()
        if not path.exists():
            self._write_bare()
        return path

    def _prepared(self) -> list[Prepared]:
        return [prepare(sample, self._loaded.geometry) for sample in self.samples]

    def _write_bare(self) -> None:
        import torch

        model = open_source(self._subject.source, ExportOptions(classes=self._subject.classes))
        if not isinstance(model, SourceModel):
            raise SystemExit(f"--model {self._subject.source}: a torch model is needed, since some peers run no other")
        bare = torch.nn.Sequential(model.tower, model.heads[0].module, torch.nn.Softmax(dim=-1)).eval()
        size = self._loaded.geometry.size
        torch.save(bare, self.folder / "bare.pt")
        torch.onnx.export(
            bare,
            (torch.zeros(3, 3, size, size),),
            str(self.folder / "bare.onnx"),
            dynamo=True,
            opset_version=18,
            dynamic_shapes=({0: "b"},),
            verbose=False,
        )
