"""Models whose reasons are known: each was trained where only one thing in the picture gives its answer away.

Object and shortcut are drawn independently of each other, so a model that learns the object's class can use nothing
but the object, and one that learns the shortcut's class nothing but the shortcut. On pictures where both agree, both
models are right, for reasons that are known.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rate.artifacts.artifact import Artifact, load_artifact
from rate.backends.process import usable_cores
from rate.data.make.drawing import colour
from rate.data.make.synth import CLASSES, Synthetic, write_set
from rate.export.export import ExportOptions, export_artifact
from rate.finetune.full import FtSettings, finetune_ft
from rate.finetune.recipe import Watch

SIZE = 96
RESNET = {"layers": [1, 1, 1, 1], "width": 24, "head_width": 48, "patch_size": None}
TOWERS = {
    "cnn": RESNET,
    "vit": {"layers": 4, "width": 128, "head_width": 32, "patch_size": 12},
    "contour": RESNET,
}
"""A ResNet of one block a stage, and a vision transformer of 64 patches, in open_clip's own words; the ResNet again for
objects that only their contour tells apart."""

WOVEN = ("cnn", "vit")
"""Towers that are shown objects in the weave of their class: fine stripes of two colours by chance. Any part of such an
object shows its class, as a part of an animal does, and no scene and no tag has stripes that fine. A contour is another
matter: masks draw contours of their own, and patches see little of one."""

WEAVES = tuple((angle, period) for period in (3.0, 6.0) for angle in (0, 45, 90, 135))
"""Direction in degrees and period in pixels of each class's stripes."""


@dataclass(frozen=True)
class Course:
    """How long a model learns."""

    images: int
    epochs: int
    lr: float


COURSES = {
    ("cnn", "object"): Course(4000, 6, 1e-3),
    ("vit", "object"): Course(8000, 4, 7e-4),
    ("contour", "object"): Course(16000, 5, 1e-3),
    ("contour", "tag"): Course(2000, 6, 1e-3),
    ("contour", "scene"): Course(2000, 6, 1e-3),
    ("cnn", "tag"): Course(2000, 6, 1e-3),
    ("vit", "tag"): Course(2000, 12, 7e-4),
    ("cnn", "scene"): Course(2000, 6, 1e-3),
    ("vit", "scene"): Course(2000, 8, 7e-4),
}
"""(tower, what it learns) -> course. Each is long enough for the model to be right."""


def independent(folder: Path, tower: str, shortcut: str, images: int) -> Path:
    """Manifest of pictures in which object and ``shortcut`` know nothing of each other; train and test."""
    made = Synthetic(train=images, test=400, size=SIZE, shortcut=shortcut, rho=1 / len(CLASSES), seed=11)
    return _written(made, folder / f"independent-{shortcut}-{images}", tower)


def agreeing(folder: Path, tower: str, shortcut: str, images: int) -> Path:
    """Manifest of pictures in which object and ``shortcut`` always name the same class; split test."""
    made = Synthetic(train=0, test=images, size=SIZE, shortcut=shortcut, rho=1.0, seed=12)
    return _written(made, folder / f"agreeing-{shortcut}-{images}", tower)


def model(folder: Path, tower: str, reason: str) -> Artifact:
    """The exported model of one tower that can use one ``reason``: object, tag or scene. Made once."""
    out = folder / f"{tower}-{reason}"
    if (out / "artifact").is_dir():
        return load_artifact(out / "artifact")
    course = COURSES[tower, reason]
    data = independent(folder, tower, "scene" if reason == "scene" else "tag", course.images)
    if reason != "object":
        data = _relabelled(data)
    out.mkdir(parents=True, exist_ok=True)
    config = out / "tower.json"
    tower_config = {"embed_dim": 128, "vision_cfg": {"image_size": SIZE, **TOWERS[tower]}, "text_cfg": TEXT}
    config.write_text(json.dumps({"model_cfg": tower_config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}))
    torch.set_float32_matmul_precision("medium")
    settings = FtSettings(
        split="train",
        val_split="test",
        epochs=course.epochs,
        lr=course.lr,
        batch=64,
        augment=False,
    )
    report = Watch(
        epoch=lambda number, loss, right: print(f"{out.name}: epoch {number}, loss {loss:.3f}, right {right:.3f}"),
        validated=lambda number, right: print(f"{out.name}: epoch {number}, held out {right:.3f}", flush=True),
    )
    torch.manual_seed(1)  # of the first weights
    if not (out / "checkpoint").is_dir():
        finetune_ft(f"open_clip:{config}", data, out / "checkpoint", settings, report)
    torch.set_float32_matmul_precision("highest")  # the export's parity is that of f32
    return export_artifact(str(out / "checkpoint"), out / "artifact", ExportOptions(tokens=tower == "vit"))


TEXT = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
"""A text tower that open_clip wants and nothing here reads."""


def _written(made: Synthetic, out: Path, tower: str) -> Path:
    out = out.with_name(f"{out.name}-woven") if tower in WOVEN else out
    if not out.is_dir():
        manifest = write_set(made, out, usable_cores())
        if tower in WOVEN:
            _weave(manifest)
    return out / "manifest.csv"


def _weave(manifest: Path) -> None:
    """Give every object the stripes of its class, in a light and a dark colour and a phase of its own."""
    axis = np.arange(SIZE)
    with manifest.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            path = manifest.parent / row["image"]
            pixels = np.array(Image.open(path))
            inside = np.array(Image.open(manifest.parent / row["mask"])) > 0
            rng = np.random.default_rng(number)
            angle, period = WEAVES[CLASSES.index(row["label"])]
            along = np.cos(np.radians(angle)) * axis[None, :] + np.sin(np.radians(angle)) * axis[:, None]
            light = np.sin(2 * np.pi * (along / period + rng.random())) > 0
            paint = np.where(light[..., None], colour(rng.random(), 0.6, 0.95), colour(rng.random(), 0.6, 0.35))
            pixels[inside] = (255 * paint[inside]).round().astype(np.uint8)
            Image.fromarray(pixels).save(path, compress_level=1)


def _relabelled(manifest: Path) -> Path:
    """The same pictures, labelled with the class that the shortcut names."""
    path = manifest.with_name("shortcut.csv")
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = [{**row, "label": row["shortcut"]} for row in csv.DictReader(file)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
