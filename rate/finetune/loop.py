"""The training of the recipes that train a tower: decode, Adam over augmented rows, measure, write the checkpoint.

A training is resumable after every epoch. Order, augmentation and dropout of a step depend on (seed, epoch, row) alone,
so they have no state to store.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from msgspec import structs
from torch import Tensor, nn

from rate.artifacts.checkpoint import Checkpoint, save_checkpoint
from rate.artifacts.weights import state_digest
from rate.backends.process import torch_threads, usable_cores
from rate.data.images.geometry import Geometry
from rate.errors import DataError, UsageError
from rate.finetune.augment import augment, draws, plain
from rate.finetune.images import CACHE_BYTES, DecodedImages, exact, roomy
from rate.finetune.recipe import FailedRow, Finetuned, Sets, Watch, targets_of
from rate.finetune.settings import FtSettings
from rate.finetune.state import TrainingState
from rate.types import Json


class Learner(Protocol):
    """A recipe: the trained module and its loss."""

    @property
    def module(self) -> nn.Module:
        """The module with all trained weights."""

    @property
    def tower(self) -> nn.Module:
        """The image tower: pixels [b,3,h,w] -> features [b,d]."""

    def head(self) -> nn.Module:
        """Make the current classifier: features [b,d] -> logits [b,c]."""

    def outputs(self, pixels: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """Compute the inputs of the loss, on a GPU in mixed precision."""

    def text(self) -> Mapping[str, Tensor]:
        """Return the weights of an image-text model beside its tower; they are empty without a text tower."""

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the mean loss of a batch and the number of right rows; ``outputs`` are f32."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """The images of a split with the index of each one's class."""

    images: DecodedImages
    targets: Tensor  # i64 [n]


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """The decoded training images and validation images."""

    train: LabelledImages
    val: LabelledImages | None
    geometry: Geometry

    @property
    def failed(self) -> tuple[tuple[str, str], ...]:
        """The id and message of each row that was left out."""
        return (*self.train.images.failed, *(self.val.images.failed if self.val else ()))


def load(sets: Sets, classes: Sequence[str], geometry: Geometry, settings: FtSettings, watch: Watch) -> Data:
    """Decode both splits; a row that cannot be read is left out with a notice.

    Raises:
        DataError: a split has no image that can be read.
    """
    splits: list[LabelledImages] = []
    room = CACHE_BYTES
    converters = (roomy(geometry) if settings.augment else exact(geometry), exact(geometry))
    for manifest, convert in zip(sets.all, converters, strict=False):
        images = DecodedImages(manifest.samples, convert, settings.threads or usable_cores(), room, watch.images)
        for id, message in images.failed:
            watch.notice(f"left out {id}: {message}")
        room -= images.bytes
        labels = [sample.label for sample in images.samples]
        splits.append(LabelledImages(images, torch.tensor(targets_of(labels, classes))))
    return Data(splits[0], splits[1] if len(splits) > 1 else None, geometry)


class Trainer:
    """A learner in training on one device."""

    def __init__(self, learner: Learner, data: Data, settings: FtSettings, watch: Watch) -> None:
        self._learner, self._data, self._settings, self._watch = learner, data, settings, watch
        self._device = settings.device
        module = learner.module.to(self._device).requires_grad_(True)
        self._optimizer = torch.optim.Adam(module.parameters(), lr=settings.lr, fused=True)
        half = self._device == "cuda" and not torch.cuda.is_bf16_supported()
        self._type = torch.float16 if half else torch.bfloat16
        self._scaler = torch.amp.GradScaler("cuda", enabled=half)

    def run(self, state: TrainingState) -> float | None:
        """Train from ``state`` to the end, leave the module in eval mode on the CPU, and return the last validation
        accuracy.

        Raises:
            UsageError: the loss is not finite.
        """
        accuracy = None
        for epoch in range(self._restore(state) + 1, self._settings.epochs + 1):
            try:
                loss, right = self._epoch(epoch)
            except UsageError:
                state.discard()  # resuming from it would diverge again
                raise
            if self._data.val is not None:
                accuracy = self.accuracy(self._data.val)
                self._watch.validated(epoch, accuracy)
            state.save(epoch, self._content())
            self._watch.epoch(epoch, loss, right)
        if accuracy is None and self._data.val is not None:
            accuracy = self.accuracy(self._data.val)
        return accuracy

    def finish(self) -> None:
        """Leave the module in eval mode on the CPU with fixed weights."""
        self._learner.module.to("cpu").eval().requires_grad_(False)

    def accuracy(self, rows: LabelledImages) -> float:
        """Compute the share of the rows whose greatest logit is their class, without augmentation."""
        self._learner.module.eval()
        head, right = self._learner.head().eval(), 0
        batches = list(range(0, len(rows.images), self._settings.batch))
        order = [range(k, min(k + self._settings.batch, len(rows.images))) for k in batches]
        head = head.to(self._device)
        with torch.inference_mode():
            for batch, images in zip(order, rows.images.stream(order), strict=True):
                with self._autocast():
                    features = self._learner.tower(plain(images, self._data.geometry, self._device))
                logits = head(features.float())
                right += int((logits.argmax(dim=1).cpu() == rows.targets[batch.start : batch.stop]).sum())
        return right / len(rows.images)

    def _epoch(self, epoch: int) -> tuple[float, float]:
        """Train one epoch; return the mean loss and the share of right rows during the epoch."""
        rows, total, right, done = self._data.train, 0.0, 0, 0
        self._learner.module.train()
        devices = [torch.cuda.current_device()] if self._device == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            # seed of dropout and of the choice of a template
            torch.manual_seed(int(np.random.SeedSequence((self._settings.seed, epoch, 2)).generate_state(1)[0]))
            for batch, pixels in self._batches(epoch):
                loss, hits = self._step(pixels, rows.targets[batch].to(self._device))
                done += len(batch)
                total, right = total + loss * len(batch), right + hits
                if not math.isfinite(loss):
                    raise UsageError(
                        f"the loss became {loss} in epoch {epoch}, after {done} rows: the training diverged; "
                        f"give a smaller --lr than {self._settings.lr:g}"
                    )
                self._watch.rows(epoch, done, len(rows.images))
        return total / done, right / done

    def _step(self, pixels: Tensor, targets: Tensor) -> tuple[float, int]:
        with self._autocast():
            outputs = self._learner.outputs(pixels, targets)
        loss, right = self._learner.loss(tuple(output.float() for output in outputs), targets)
        self._optimizer.zero_grad()
        torch.autograd.backward(self._scaler.scale(loss))
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return float(loss.detach()), int(right)

    def _batches(self, epoch: int) -> Iterator[tuple[Sequence[int], Tensor]]:
        """Yield indices and pixels of batches of nearly equal size, since a single last row has no batch statistics."""
        images, settings, geometry = self._data.train.images, self._settings, self._data.geometry
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((settings.seed, epoch, 1))))
        parts = np.array_split(generator.permutation(len(images)), math.ceil(len(images) / settings.batch))
        order = [part.tolist() for part in parts]
        uniform = draws(settings.seed, epoch, len(images))
        for batch, decoded in zip(order, images.stream(order), strict=True):
            if settings.augment:
                yield batch, augment(decoded, uniform[batch], geometry, self._device)
            else:
                yield batch, plain(decoded, geometry, self._device)

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self._device, dtype=self._type, enabled=self._device == "cuda")

    def _content(self) -> Json:
        return {
            "rows": len(self._data.train.images),
            "module": self._learner.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def _restore(self, state: TrainingState) -> int:
        """Restore a state and return its number of finished epochs."""
        if (stored := state.restore()) is None:
            return 0
        if stored["rows"] != (rows := len(self._data.train.images)):
            raise DataError(
                f"{stored['rows']} training rows could be read when this training began, now {rows}; "
                f"put the images back, or delete {state.folder} to start anew"
            )
        self._learner.module.load_state_dict(stored["module"])
        self._optimizer.load_state_dict(stored["optimizer"])
        self._scaler.load_state_dict(stored["scaler"])
        self._watch.notice(f"going on after epoch {stored['epoch']} of {self._settings.epochs}: {state.folder}")
        return int(stored["epoch"])


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
    with torch_threads(settings.threads):
        data = load(sets, draft.classes, draft.geometry, settings, watch)
        trainer = Trainer(learner, data, settings, watch)
        val_accuracy = trainer.run(state)
        measured = LabelledImages(data.train.images.converted(exact(draft.geometry)), data.train.targets)
        train_accuracy = trainer.accuracy(measured)
        trainer.finish()
    result = Finetuned(
        checkpoint=draft.path,
        classes=draft.classes,
        samples=len(data.train.images),
        failed=tuple(FailedRow(*row) for row in data.failed),
        train_accuracy=train_accuracy,
        val_accuracy=val_accuracy,
    )
    checkpoint = structs.replace(draft, recipe=draft.recipe | result.in_recipe)
    save_checkpoint(checkpoint, learner.tower.state_dict(), learner.head(), settings.force, learner.text())
    state.discard()
    return result


def _key(draft: Checkpoint, learner: Learner, sets: Sets) -> Json:
    """Return everything except the pixels that a training depends on, beside the entries of its recipe."""
    return {
        **draft.recipe,
        "classes": list(draft.classes),
        "prompts": list(draft.prompts),
        "data": sets.train.digest(),
        # A training depends on the order of its rows, and the set's digest does not.
        "rows": hashlib.sha256("\n".join(sample.id for sample in sets.train.samples).encode()).hexdigest(),
        "weights": state_digest(learner.module.state_dict()),
    }
