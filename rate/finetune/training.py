"""A whole fine-tuning of a tower: decode, train, measure, write the checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from msgspec import structs

from rate.artifacts.checkpoint import Checkpoint, save_checkpoint
from rate.artifacts.weights import state_digest
from rate.backends.process import usable_cores
from rate.finetune.features import torch_threads
from rate.finetune.images import exact
from rate.finetune.loop import LabelledImages, Learner, Trainer, load
from rate.finetune.recipe import Finetuned, Sets, Watch
from rate.finetune.settings import FtSettings
from rate.finetune.state import TrainingState
from rate.types import Json, Sample


def train_checkpoint(draft: Checkpoint, learner: Learner, sets: Sets, settings: FtSettings, watch: Watch) -> Finetuned:
    """Train ``learner`` and write its checkpoint; an interrupted training resumes at its last epoch.

    Args:
        draft: the checkpoint without the results of the training; its recipe holds all settings of the training.
        learner: the model with its initial weights.
        sets: the training and validation rows.
        settings: the settings of the training.
        watch: receives notices and progress.

    Raises:
        UsageError: another training writes to the same folder, no image can be read, or the loss diverged.
        RateError: the state cannot be written.
    """
    state = TrainingState(draft.path, _key(draft, learner, sets), settings.force)
    with torch_threads(settings.threads or usable_cores()):
        data = load(sets, draft.classes, draft.geometry, settings, watch)
        trainer = Trainer(learner, data, settings, watch)
        val_accuracy = trainer.run(state)
        measured = LabelledImages(data.train.images.converted(exact(draft.geometry)), data.train.targets)
        train_accuracy = trainer.accuracy(measured)
        trainer.finish()
    result = Finetuned(
        path=draft.path,
        classes=draft.classes,
        samples=len(data.train.images),
        failed=data.failed,
        train_accuracy=train_accuracy,
        val_accuracy=val_accuracy,
    )
    _save(draft, learner, result, settings.force)
    state.discard()
    return result


def _save(draft: Checkpoint, learner: Learner, result: Finetuned, force: bool) -> None:
    told = {
        "samples": result.samples,
        "failed": len(result.failed),
        "train_accuracy": result.train_accuracy,
        "val_accuracy": result.val_accuracy,
    }
    checkpoint = structs.replace(draft, recipe=draft.recipe | told)
    save_checkpoint(checkpoint, learner.tower.state_dict(), learner.head(), force, learner.text())


def _key(draft: Checkpoint, learner: Learner, sets: Sets) -> Json:
    """Return everything except the pixels that a training depends on, beside the entries of its recipe."""
    return {
        **draft.recipe,
        "classes": list(draft.classes),
        "prompts": list(draft.prompts),
        "data": sets.train.digest(),
        "rows": _ids(sets.train.samples),
        "weights": state_digest(learner.module.state_dict()),
    }


def _ids(samples: Sequence[Sample]) -> str:
    """Digest the ids in order, since a training depends on the order of its rows and the set's digest does not."""
    return hashlib.sha256("\n".join(sample.id for sample in samples).encode()).hexdigest()
