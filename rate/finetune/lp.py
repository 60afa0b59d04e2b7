"""Linear probing: a linear classifier is trained on the features of a frozen tower."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from rate.artifacts.checkpoint import CHECKPOINT, Checkpoint, save_checkpoint
from rate.artifacts.folders import check_replaceable
from rate.artifacts.records import Base
from rate.backends.process import torch_threads
from rate.data.manifest import Manifest
from rate.export.options import read_classes
from rate.export.sources.open_source import open_tower
from rate.export.sources.source_model import SourceModel
from rate.finetune.features import Features, extract
from rate.finetune.recipe import FailedRow, Finetuned, Sets, Watch, check_labels, labels_of, read_sets, targets_of
from rate.finetune.settings import LpSettings as LpSettings
from rate.reading import USUAL, Reading
from rate.types import Json


def finetune_lp(
    source: str,
    data: Path,
    out: Path,
    settings: LpSettings,
    watch: Watch | None = None,
    reading: Reading = USUAL,
) -> Finetuned:
    """Train a linear head on the frozen tower of SOURCE and write a checkpoint folder.

    Equal inputs, settings and thread counts give equal heads.

    Args:
        source: as in `rate.export.sources.source_string`, except `onnx:`.
        data: a manifest; regions are not used, but a row whose region cannot be read is left out like any other.
        out: the checkpoint folder, written all or nothing.
        settings: the recipe.
        watch: receives notices and progress.
        reading: where files may lie, and what the values of masks mean.

    Raises:
        UsageError: source, data or settings cannot be used, or ``out`` may not be replaced.
    """
    watch = watch or Watch()
    check_replaceable(out, CHECKPOINT, settings.force)
    model = open_tower(source)
    sets, classes = sets_of_linear(data, model, settings, watch, reading)
    train = _extract(model, sets.train, settings, watch)
    with torch_threads(settings.threads):
        head = train_head(train.values, _targets(train, classes), len(classes), settings, watch)
    val = None if sets.val is None else _extract(model, sets.val, settings, watch)
    result = Finetuned(
        checkpoint=out,
        classes=classes,
        samples=len(train.labels),
        failed=tuple(FailedRow(*row) for row in train.failed + (val.failed if val else ())),
        train_accuracy=accuracy(head, train.values, _targets(train, classes)),
        val_accuracy=accuracy(head, val.values, _targets(val, classes)) if val else None,
    )
    recipe = {"name": "lp", "optimizer": "adam", **settings.to_json(), **result.in_recipe}
    checkpoint = linear_checkpoint(out, model, classes, recipe)
    save_checkpoint(checkpoint, model.tower.state_dict(), head, settings.force)
    return result


def sets_of_linear(
    data: Path, model: SourceModel, settings: LpSettings, watch: Watch, reading: Reading
) -> tuple[Sets, tuple[str, ...]]:
    """Read the rows and the classes of a recipe with a linear head, and pass the notices of model and data on.

    Raises:
        DataError: as `read_sets` and `check_labels`.
        UsageError: the file of classes cannot be used.
    """
    sets = read_sets(data, settings.split, settings.val_split, reading)
    classes = labels_of(sets.train) if settings.classes is None else read_classes(settings.classes, None)
    check_labels(sets, classes)
    for text in (*model.notices, *sets.train.notices):
        watch.notice(text)
    return sets, classes


def linear_checkpoint(out: Path, model: SourceModel, classes: tuple[str, ...], recipe: Json) -> Checkpoint:
    """Describe the checkpoint of a linear head on the tower of ``model``."""
    return Checkpoint(
        path=out,
        family=model.family,
        model=model.config,
        classes=classes,
        prompts=(),
        geometry=model.geometry,
        recipe=recipe,
        base=Base(model.source, model.weights),
    )


def train_head(
    features: torch.Tensor, targets: torch.Tensor, classes: int, settings: LpSettings, watch: Watch
) -> nn.Linear:
    """Train a linear head from zero with Adam on the cross entropy; the seed gives the order of the rows.

    Args:
        features: f32 [n,d].
        targets: i64 [n], 0 to ``classes`` - 1.
        classes: the number of classes.
        settings: the recipe.
        watch: receives the progress.
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
    """Compute the share of the rows whose greatest logit is their class."""
    with torch.inference_mode():
        return float((head(features).argmax(dim=1) == targets).float().mean())


def _extract(model: SourceModel, manifest: Manifest, settings: LpSettings, watch: Watch) -> Features:
    features = extract(model, manifest.samples, settings.threads, watch.features)
    for id, message in features.failed:
        watch.notice(f"left out {id}: {message}")
    return features


def _targets(features: Features, classes: tuple[str, ...]) -> torch.Tensor:
    return torch.tensor(targets_of(features.labels, classes))
