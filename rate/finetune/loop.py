"""The loop that the recipes with a trained tower share: Adam over augmented rows, resumable after every epoch.

What a step sees is a function of (seed, epoch, row): order, augmentation and dropout need no state of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rate.backends.process import usable_cores
from rate.data.images.geometry import Geometry
from rate.errors import ConfigError, DataError, UsageError
from rate.finetune.augment import augment, draws, plain
from rate.finetune.images import CACHE_BYTES, Images, exact, roomy
from rate.finetune.recipe import Sets, Watch, check_least, check_rate, targets_of
from rate.finetune.state import TrainingState
from rate.types import Json

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """The recipe, and how it is carried out."""

    split: str | None = "train"  # rows to train on; None = all
    val_split: str | None = None  # rows to measure accuracy on after every epoch
    epochs: int = 10
    lr: float = 1e-5  # of Adam, for all weights
    batch: int = 64  # rows a step, at most
    seed: int = 0  # of the order of the rows and of the augmentation
    classes: Path | None = None  # their order; None = the labels of the training rows, sorted
    threads: int = 0  # 0 = the cores this process may use
    augment: bool = True  # random resized crop, flip, rotation, colour jitter
    device: str = "cpu"  # "cuda": mixed precision
    force: bool = False  # replace a checkpoint that exists, drop the state of another training

    def __post_init__(self) -> None:
        check_least(self, {"epochs": 1, "batch": 1, "threads": 0, "seed": 0})
        check_rate(self.lr, "1e-5")
        if self.device not in DEVICES:
            raise ConfigError(f"device must be {' or '.join(DEVICES)}, got {self.device!r}")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("device cuda: torch sees no CUDA device here; use --device cpu, or a CUDA build of torch")

    def to_json(self) -> Json:
        """What changes the course of the training."""
        names = ("epochs", "lr", "batch", "seed", "augment", "device")
        return {name: getattr(self, name) for name in names}


class Learner(Protocol):
    """A recipe: what is trained, and by which loss."""

    @property
    def module(self) -> nn.Module:
        """All that is trained."""

    @property
    def tower(self) -> nn.Module:
        """Its image tower: pixels [b,3,h,w] -> features [b,d]."""

    def head(self) -> nn.Module:
        """The classifier as it stands: features [b,d] -> logits [b,c]."""

    def outputs(self, pixels: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """What the loss is made of; on a GPU in mixed precision."""

    def text(self) -> Mapping[str, Tensor]:
        """Weights of an image-text model beside its tower; empty without a text tower."""

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss of the rows of a batch, and how many of them are right; ``outputs`` are f32."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The images of a split with the index of each one's class."""

    images: Images
    targets: Tensor  # i64 [n]


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """What is trained on, and what accuracy is measured on; decoded as far as memory goes."""

    train: Rows
    val: Rows | None
    geometry: Geometry

    @property
    def failed(self) -> tuple[tuple[str, str], ...]:
        """Id and message of the rows left out."""
        return (*self.train.images.failed, *(self.val.images.failed if self.val else ()))


def load(sets: Sets, classes: Sequence[str], geometry: Geometry, settings: TrainSettings, watch: Watch) -> Data:
    """Decode both splits; a row that cannot be read is left out with a notice.

    Raises:
        DataError: a split has no image that can be read.
    """
    found: list[Rows] = []
    room = CACHE_BYTES
    converters = (roomy(geometry) if settings.augment else exact(geometry), exact(geometry))
    for manifest, convert in zip(sets.all, converters, strict=False):
        tick = partial(_tick, watch, len(manifest.samples))
        images = Images(manifest.samples, convert, settings.threads or usable_cores(), room, tick)
        for id, message in images.failed:
            watch.notice(f"left out {id}: {message}")
        room -= images.bytes
        labels = [sample.label for sample in images.samples]
        found.append(Rows(images, torch.tensor(targets_of(labels, classes))))
    return Data(found[0], found[1] if len(found) > 1 else None, geometry)


def _tick(watch: Watch, total: int, done: int) -> None:
    watch.images(done, total)


class Trainer:
    """A learner in training on one device."""

    def __init__(self, learner: Learner, data: Data, settings: TrainSettings, watch: Watch) -> None:
        self._learner, self._data, self._settings, self._watch = learner, data, settings, watch
        self._device = settings.device
        module = learner.module.to(self._device).requires_grad_(True)
        self._optimizer = torch.optim.Adam(module.parameters(), lr=settings.lr, fused=True)
        half = self._device == "cuda" and not torch.cuda.is_bf16_supported()
        self._type = torch.float16 if half else torch.bfloat16
        self._scaler = torch.amp.GradScaler("cuda", enabled=half)

    def run(self, state: TrainingState) -> float | None:
        """Train from ``state`` to the end; the module is left in eval mode on the CPU. Returns the last val accuracy.

        Raises:
            UsageError: the loss is not finite.
        """
        accuracy = None
        for epoch in range(self._restore(state) + 1, self._settings.epochs + 1):
            try:
                loss, right = self._epoch(epoch)
            except UsageError:
                state.discard()  # it leads there again
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
        """Leave the module in eval mode on the CPU, its weights fixed."""
        self._learner.module.to("cpu").eval().requires_grad_(False)

    def accuracy(self, rows: Rows) -> float:
        """Share of the rows whose greatest logit is their class, as in an evaluation: no augmentation."""
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
        """One pass over the rows; mean loss, and the share of the rows that were right when they were seen."""
        rows, total, right, done = self._data.train, 0.0, 0, 0
        self._learner.module.train()
        devices = [torch.cuda.current_device()] if self._device == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            # of dropout and of the choice of a template
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
        """Indices and pixels; the batches are nearly equal in size, since a lone last row has no statistics."""
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
        """The number of epochs behind it."""
        if (found := state.restore()) is None:
            return 0
        if found["rows"] != (rows := len(self._data.train.images)):
            raise DataError(
                f"{found['rows']} training rows could be read when this training began, now {rows}; "
                f"put the images back, or delete {state.folder} to start anew"
            )
        self._learner.module.load_state_dict(found["module"])
        self._optimizer.load_state_dict(found["optimizer"])
        self._scaler.load_state_dict(found["scaler"])
        self._watch.notice(f"going on after epoch {found['epoch']} of {self._settings.epochs}: {state.folder}")
        return int(found["epoch"])
