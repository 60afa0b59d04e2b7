"""Small dual encoders that rest on object and scene in every proportion, made as the paper makes its models.

Each is trained like CLIP where the shortcut names the class in a share rho of the pictures (its pre-training:
zero-shot, ZS), and adapted on other pictures of that kind: linear probing (LP), full fine-tuning (FT), fine-tuning
like pre-training (FLCP).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rate.artifacts.artifact import Artifact, load_artifact
from rate.backends.process import usable_cores
from rate.data.make.graded import write_graded
from rate.data.make.synth import Synthetic, write_set
from rate.demo import ENCODER, SIZE, SMALLEST
from rate.export.export import ExportOptions, export_artifact
from rate.finetune.contrastive import FlcpSettings, finetune_flcp
from rate.finetune.full import FtSettings, finetune_ft
from rate.finetune.lp import LpSettings, finetune_lp
from rate.finetune.recipe import Watch

RESNET = ENCODER["vision_cfg"]
VIT = {"image_size": SIZE, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8}
TOWERS = {"resnet": RESNET, "vit": VIT}
WOVEN = {"resnet": 0.0, "vit": 0.6}
"""Share of objects in the stripes of their class: patches see little of a contour. The others leave the shortcut."""

SHORTCUTS = ("scene", "tag")
RHOS = (0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Course:
    """How long an encoder is pre-trained, and adapted."""

    images: int
    epochs: int
    lr: float
    adapted: int = 2000
    adapted_epochs: int = 4
    adapted_lr: float = 2e-4


COURSES = {
    ("resnet", "scene"): Course(2000, 20, 2e-3),
    ("resnet", "tag"): Course(2000, 20, 1e-3),
    ("vit", "scene"): Course(2000, 12, 7e-4),
    ("vit", "tag"): Course(2000, 12, 7e-4),
}
LONGER = Course(4000, 24, 2e-3, adapted_epochs=10, adapted_lr=1e-4)
"""Of encoders that meet the shortcut in their adaptation alone, and have the contours to learn before."""


@dataclass(frozen=True)
class Recipe:
    """A model's tower, and how often the shortcut names the class in the pictures that it learns from."""

    tower: str
    shortcut: str
    rho: float
    seed: int = 0
    before: float | None = None  # the share in the pre-training; None = the same

    @property
    def name(self) -> str:
        """The name of its folder."""
        before = "" if self.before is None else f"-after-{self.before:.3f}"
        return f"{self.tower}-{self.shortcut}-{self.rho}-s{self.seed}{before}"

    @property
    def course(self) -> Course:
        """How long it is trained."""
        return COURSES[self.tower, self.shortcut] if self.before is None else LONGER


def data(work: Path, recipe: Recipe, rho: float, train: int, test: int, seed: int) -> Path:
    """Folder of a set; with its renderings where it has test pictures."""
    made = Synthetic(
        train=train,
        test=test,
        size=SIZE,
        shortcut=recipe.shortcut,
        rho=rho,
        seed=seed,
        smallest=SMALLEST,
        woven=WOVEN[recipe.tower],
    )
    out = work / f"{recipe.shortcut}-{rho:.3f}-{train}-{test}-{seed}{f'-woven{made.woven}' if made.woven else ''}"
    if not (out / "manifest.csv").exists():
        write_set(made, out, usable_cores())
        if test:
            write_graded(made, out, usable_cores())
    return out


def pretrained(work: Path, recipe: Recipe) -> Path:
    """The checkpoint of an encoder before its adaptation."""
    out, course = work / recipe.name, recipe.course
    if not (out / "encoder").is_dir():
        out.mkdir(parents=True, exist_ok=True)
        rho = recipe.rho if recipe.before is None else recipe.before
        clean = data(work, recipe, rho, course.images, 0, 100 + recipe.seed)
        config = out / "encoder.json"
        model = {**ENCODER, "vision_cfg": TOWERS[recipe.tower]}
        config.write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}))
        settings = FlcpSettings(
            split="train", epochs=course.epochs, lr=course.lr, batch=32, augment=False, seed=recipe.seed
        )
        finetune_flcp(f"open_clip:{config}", clean / "manifest.csv", out / "encoder", settings, _watch(out.name))
    return out / "encoder"


def adapted(work: Path, recipe: Recipe) -> dict[str, tuple[Artifact, str]]:
    """Method (ZS, LP, FT, FLCP) -> the artifact and the head that hold it."""
    base, course, seed = pretrained(work, recipe), recipe.course, recipe.seed
    manifest = data(work, recipe, recipe.rho, course.adapted, 0, 200 + seed) / "manifest.csv"
    out = base.parent
    watch = _watch(out.name)
    common = {"split": "train", "epochs": course.adapted_epochs, "lr": course.adapted_lr, "batch": 64}
    if not (out / "lp").is_dir():
        finetune_lp(str(base), manifest, out / "lp", LpSettings(split="train", seed=seed), watch)
    if not (out / "ft").is_dir():
        finetune_ft(str(base), manifest, out / "ft", FtSettings(augment=False, seed=seed, **common), watch)
    if not (out / "flcp").is_dir():
        finetune_flcp(str(base), manifest, out / "flcp", FlcpSettings(augment=False, seed=seed, **common), watch)
    both = _exported(base, out / "artifact-zs-lp", (f"lp=linear:{out / 'lp'}",))
    zero_shot = next(head.name for head in both.heads if head.name != "lp")
    ft, flcp = _exported(out / "ft", out / "artifact-ft"), _exported(out / "flcp", out / "artifact-flcp")
    return {
        "ZS": (both, zero_shot),
        "LP": (both, "lp"),
        "FT": (ft, ft.heads[0].name),
        "FLCP": (flcp, flcp.heads[0].name),
    }


def trained(work: Path, recipe: Recipe) -> bool:
    """Tell whether every method has its artifact."""
    return (work / recipe.name / "artifact-flcp").is_dir()


def _exported(source: Path, out: Path, heads: tuple[str, ...] = ()) -> Artifact:
    return load_artifact(out) if out.is_dir() else export_artifact(str(source), out, ExportOptions(heads=heads))


def _watch(name: str) -> Watch:
    return Watch(
        epoch=lambda number, loss, right: print(f"{name}: epoch {number}, {loss:.3f}, {right:.3f}", flush=True)
    )
