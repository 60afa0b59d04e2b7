"""Shared parts of all recipes: callbacks, results, sets and classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rate.data.manifest import Manifest, read_manifest
from rate.errors import DataError
from rate.reading import Reading
from rate.records import Count, Document, Record, Share
from rate.types import Json


@dataclass(frozen=True, slots=True)
class Watch:
    """The callbacks of a training."""

    notice: Callable[[str], None] = lambda message: None
    features: Callable[[int, int], None] = lambda done, total: None  # (done, total) images of the current split
    # (number from 1, loss, accuracy) over the training rows
    epoch: Callable[[int, float, float], None] = lambda number, loss, accuracy: None
    images: Callable[[int, int], None] = lambda done, total: None  # (done, total) decoded images of the current split
    rows: Callable[[int, int, int], None] = lambda epoch, done, total: None  # (epoch, done, total) trained rows
    # (epoch, accuracy) after an epoch, before `epoch`
    validated: Callable[[int, float], None] = lambda number, accuracy: None


class FailedRow(Record, frozen=True):
    """A row that was left out."""

    id: str
    error: str


class Finetuned(Document, frozen=True, tag="rate.finetuned/1"):
    """The result of a training, and the document of `rate finetune --json`."""

    checkpoint: Path  # its folder
    classes: tuple[str, ...]
    samples: Count  # number of training rows
    failed: tuple[FailedRow, ...]  # of both splits
    train_accuracy: Share
    val_accuracy: Share | None  # None = no --val-split

    @property
    def in_recipe(self) -> Json:
        """The entries of the result in the recipe of its checkpoint."""
        return {
            "samples": self.samples,
            "failed": len(self.failed),
            "train_accuracy": self.train_accuracy,
            "val_accuracy": self.val_accuracy,
        }


@dataclass(frozen=True, slots=True)
class Sets:
    """The training and validation rows of a fine-tuning."""

    train: Manifest
    val: Manifest | None

    @property
    def all(self) -> tuple[Manifest, ...]:
        """The sets that exist."""
        return (self.train,) if self.val is None else (self.train, self.val)


def read_sets(data: Path, split: str | None, val_split: str | None, reading: Reading) -> Sets:
    """Read the training rows, and the rows on which accuracy is measured.

    Raises:
        DataError: as `read_manifest`.
    """
    train = read_manifest(data, split=split, reading=reading)
    return Sets(train, None if val_split is None else read_manifest(data, split=val_split, reading=reading))


def labels_of(manifest: Manifest) -> tuple[str, ...]:
    """Return the sorted labels of the rows, which are the classes if no file gives them.

    Raises:
        DataError: all rows have the same label.
    """
    labels = tuple(sorted({sample.label for sample in manifest.samples}))
    if len(labels) < 2:
        raise DataError(f"{manifest.path} has the one label {labels[0]!r} to train on; at least 2 classes are needed")
    return labels


def check_labels(sets: Sets, classes: Sequence[str]) -> None:
    """Refuse a label that is none of the classes.

    Raises:
        DataError: names the first.
    """
    known = set(classes)
    for manifest in sets.all:
        if strange := sorted({sample.label for sample in manifest.samples} - known):
            raise DataError(
                f"{manifest.path} has the label {strange[0]!r}, which is not one of the {len(classes)} classes trained "
                "on; give all of them with --classes FILE, or correct the label"
            )


def targets_of(labels: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Return the index in ``classes`` of every label."""
    index = {name: number for number, name in enumerate(classes)}
    return [index[label] for label in labels]
