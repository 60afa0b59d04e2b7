"""Full fine-tuning: cross entropy trains the tower and a linear classifier on its features together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from rate.artifacts.checkpoint import CHECKPOINT
from rate.artifacts.folders import check_replaceable
from rate.export.sources.open_source import open_tower
from rate.export.sources.source_model import SourceModel
from rate.finetune.loop import train_checkpoint
from rate.finetune.lp import linear_checkpoint, sets_of_linear
from rate.finetune.recipe import Finetuned, Watch
from rate.finetune.settings import FtSettings as FtSettings
from rate.reading import USUAL, Reading


def finetune_ft(
    source: str,
    data: Path,
    out: Path,
    settings: FtSettings,
    watch: Watch | None = None,
    reading: Reading = USUAL,
) -> Finetuned:
    """Train the tower of SOURCE with a linear head on it, Adam on the cross entropy, and write a checkpoint folder.

    The head of a checkpoint for the same classes is trained further; any other head starts at zero. On the CPU,
    equal inputs, settings and thread counts give equal weights. The state after each epoch is kept beside ``out``
    (`.NAME.training`), and the same call resumes from it.

    Args:
        source: as in `rate.export.sources.source_string`, except `onnx:`.
        data: a manifest; regions are not used.
        out: the checkpoint folder, written all or nothing.
        settings: the recipe.
        watch: receives notices and progress.
        reading: where files may lie, and what the values of masks mean.

    Raises:
        UsageError: source, data or settings cannot be used, ``out`` may not be replaced, or the loss diverged.
    """
    watch = watch or Watch()
    check_replaceable(out, CHECKPOINT, settings.force)
    model = open_tower(source, keep_head=True)
    sets, classes = sets_of_linear(data, model, settings, watch, reading)
    draft = linear_checkpoint(out, model, classes, {"name": "ft", "optimizer": "adam", **settings.to_json()})
    return train_checkpoint(draft, _Classifier(model.tower, _first_head(model, classes, watch)), sets, settings, watch)


class _Classifier:
    """A tower with a linear head that learns by cross entropy; see `loop.Learner`."""

    def __init__(self, tower: nn.Module, head: nn.Linear) -> None:
        self.tower = tower
        self.module = nn.ModuleDict({"tower": tower, "head": head})
        self._head = head

    def head(self) -> nn.Module:
        """Return the linear head, which is trained in place."""
        return self._head

    def text(self) -> Mapping[str, Tensor]:
        """Return no weights, since there is no text tower."""
        return {}

    def outputs(self, pixels: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """Compute the logits [b,c]."""
        return (self._head(self.tower(pixels)),)

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the mean cross entropy of a batch and the number of right rows."""
        (logits,) = outputs
        return nn.functional.cross_entropy(logits, targets), (logits.argmax(dim=1) == targets).sum()


def _first_head(model: SourceModel, classes: tuple[str, ...], watch: Watch) -> nn.Linear:
    for head in model.heads:
        if isinstance(head.module, nn.Linear) and head.classes == classes:
            watch.notice(f"the head {head.name!r} of {model.source} is for the same classes and is trained further")
            return head.module
    linear = nn.Linear(model.dim, len(classes))
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
