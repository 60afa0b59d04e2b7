"""Linear probing: the tower stays frozen, a linear classifier is trained on its features."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from rate.backends.cores import usable_cores
from rate.data.manifest import Manifest, read_manifest
from rate.errors import ConfigError, DataError
from rate.export.checkpoint import CHECKPOINT, Checkpoint, save_checkpoint
from rate.export.folders import check_replaceable
from rate.export.options import read_classes
from rate.export.sources import SourceModel, open_tower
from rate.finetune.features import Features, extract, torch_threads
from rate.types import Json


@dataclass(frozen=True, slots=True)
class LpSettings:
    """The recipe, and how it is carried out."""

    split: str | None = "train"  # rows to train on; None = all
    val_split: str | None = None  # rows to measure accuracy on after the training
    epochs: int = 100
    lr: float = 1e-3  # of Adam
    batch: int = 64  # rows a step
    seed: int = 0  # of the order of the rows
    classes: Path | None = None  # their order; None = the labels of the training rows, sorted
    threads: int = 0  # 0 = the cores this process may use
    force: bool = False  # replace a checkpoint that exists

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch", 1), ("threads", 0), ("seed", 0)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if not (math.isfinite(self.lr) and self.lr > 0.0):
            raise ConfigError(f"lr must be a positive number, got {self.lr}; 1e-3 is usual")


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told what, while it happens."""

    notice: Callable[[str], None] = lambda message: None
    features: Callable[[int, int], None] = lambda done, total: None  # images of the split in work
    epoch: Callable[[int, float, float], None] = lambda number, loss, accuracy: None  # 1-based; over the training rows


@dataclass(frozen=True, slots=True)
class Finetuned:
    """What came of it."""

    path: Path
    classes: tuple[str, ...]
    samples: int  # rows trained on
    failed: tuple[tuple[str, str], ...]  # id and message of the rows left out, of both splits
    train_accuracy: float
    val_accuracy: float | None  # None = no --val-split

    def to_json(self) -> Json:
        """The result for machines."""
        return {
            "checkpoint": str(self.path),
            "classes": list(self.classes),
            "samples": self.samples,
            "failed": [{"id": id, "error": message} for id, message in self.failed],
            "train_accuracy": self.train_accuracy,
            "val_accuracy": self.val_accuracy,
        }


def finetune_lp(source: str, data: Path, out: Path, settings: LpSettings, watch: Watch | None = None) -> Finetuned:
    """Train a linear head on the frozen tower of SOURCE and write a checkpoint folder.

    Equal inputs, settings and thread counts give equal heads.

    Args:
        source: `timm:NAME[:FILE]` or a checkpoint folder.
        data: manifest; regions are not used, but a row whose region cannot be read is left out like any other.
        out: checkpoint folder; whole or absent.
        settings: recipe.
        watch: told notices and progress.

    Raises:
        UsageError: source, data or settings cannot be used, or ``out`` may not be replaced.
    """
    watch = watch or Watch()
    check_replaceable(out, CHECKPOINT, settings.force)
    model = open_tower(source)
    manifest = read_manifest(data, split=settings.split)
    held_out = None if settings.val_split is None else read_manifest(data, split=settings.val_split)
    classes = _classes(manifest, settings)
    for one in (manifest, held_out):
        if one is not None:
            _check_labels(one, classes)
    for text in (*model.notices, *manifest.notices):
        watch.notice(text)
    train = _extract(model, manifest, settings, watch)
    with torch_threads(settings.threads or usable_cores()):
        head = train_head(train.values, _targets(train, classes), len(classes), settings, watch)
    val = None if held_out is None else _extract(model, held_out, settings, watch)
    result = Finetuned(
        path=out,
        classes=classes,
        samples=len(train.labels),
        failed=train.failed + (val.failed if val else ()),
        train_accuracy=accuracy(head, train.values, _targets(train, classes)),
        val_accuracy=accuracy(head, val.values, _targets(val, classes)) if val else None,
    )
    _save(model, head, result, settings)
    return result


def train_head(
    features: torch.Tensor, targets: torch.Tensor, classes: int, settings: LpSettings, watch: Watch
) -> nn.Linear:
    """Adam on the cross entropy of a linear head that starts at zero; the order of the rows comes from the seed.

    Args:
        features: f32 [n,d].
        targets: i64 [n], 0 to ``classes`` - 1.
        classes: how many.
    """
    order = torch.Generator().manual_seed(settings.seed)
    head = nn.Linear(features.shape[1], classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.Adam(head.parameters(), lr=settings.lr)
    for epoch in range(1, settings.epochs + 1):
        total, right = 0.0, 0
        for rows in torch.split(torch.randperm(len(features), generator=order), settings.batch):
            logits = head(features[rows])
            loss = nn.functional.cross_entropy(logits, targets[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += float(loss.detach()) * len(rows)
            right += int((logits.argmax(dim=1) == targets[rows]).sum())
        watch.epoch(epoch, total / len(features), right / len(features))
    return head.eval().requires_grad_(False)


def accuracy(head: nn.Linear, features: torch.Tensor, targets: torch.Tensor) -> float:
    """Share of the rows whose greatest logit is their class."""
    with torch.inference_mode():
        return float((head(features).argmax(dim=1) == targets).float().mean())


def _classes(manifest: Manifest, settings: LpSettings) -> tuple[str, ...]:
    if settings.classes is not None:
        return read_classes(settings.classes, None)
    found = tuple(sorted({sample.label for sample in manifest.samples}))
    if len(found) < 2:
        raise DataError(f"{manifest.path} has the one label {found[0]!r} to train on; at least 2 classes are needed")
    return found


def _check_labels(manifest: Manifest, classes: tuple[str, ...]) -> None:
    known = set(classes)
    if strange := sorted({sample.label for sample in manifest.samples} - known):
        raise DataError(
            f"{manifest.path} has the label {strange[0]!r}, which is not one of the {len(classes)} classes trained on; "
            "give all of them with --classes FILE, or correct the label"
        )


def _extract(model: SourceModel, manifest: Manifest, settings: LpSettings, watch: Watch) -> Features:
    total = len(manifest.samples)
    found = extract(model, manifest.samples, settings.threads, lambda done: watch.features(done, total))
    for id, message in found.failed:
        watch.notice(f"left out {id}: {message}")
    return found


def _targets(features: Features, classes: tuple[str, ...]) -> torch.Tensor:
    index = {name: number for number, name in enumerate(classes)}
    return torch.tensor([index[label] for label in features.labels])


def _save(model: SourceModel, head: nn.Linear, result: Finetuned, settings: LpSettings) -> None:
    recipe = {
        "name": "lp",
        "optimizer": "adam",
        "epochs": settings.epochs,
        "lr": settings.lr,
        "batch": settings.batch,
        "seed": settings.seed,
        "samples": result.samples,
        "failed": len(result.failed),
        "train_accuracy": result.train_accuracy,
        "val_accuracy": result.val_accuracy,
    }
    checkpoint = Checkpoint(
        path=result.path,
        family=model.family,
        model=model.config,
        classes=result.classes,
        prompts=(),
        geometry=model.geometry,
        recipe=recipe,
        base={"source": model.source, "weights": model.weights},
    )
    save_checkpoint(checkpoint, model.tower.state_dict(), head, settings.force)
