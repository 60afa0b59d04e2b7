"""The settings of the recipes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rate.errors import ConfigError
from rate.option import Settings, option

if TYPE_CHECKING:
    from rate.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class LpSettings(Settings):
    """The settings of the recipe LP."""

    split: str | None = option("train", "Rows to train on.")  # None = all
    val_split: str | None = option(None, "Rows to measure accuracy on afterwards.")
    epochs: int = option(100, "Passes over the rows.", within=(1, None))
    lr: float = option(1e-3, "Learning rate of Adam.")
    batch: int = option(64, "Rows a step.", within=(1, None))
    seed: int = option(0, "Of the order of the rows, and of the augmentation if there is one.", within=(0, None))
    classes: Path | None = option(None, "Class names, one a line; the labels, sorted.")
    threads: int = option(0, "0 = all this process may use.", within=(0, None))
    force: bool = option(False, "Replace a checkpoint that exists.")

    def __post_init__(self) -> None:
        self.check_options()
        if not (math.isfinite(self.lr) and self.lr > 0.0):
            usual = type(self).__dataclass_fields__["lr"].default
            raise ConfigError(f"lr must be a positive number, got {self.lr}; {usual:g} is usual")

    def to_json(self) -> Json:
        """Return the settings that change the trained weights."""
        return {name: getattr(self, name) for name in ("epochs", "lr", "batch", "seed")}


@dataclass(frozen=True, slots=True, kw_only=True)
class FtSettings(LpSettings):
    """The settings of the recipe FT."""

    val_split: str | None = option(None, "Rows to measure accuracy on after every epoch.")
    epochs: int = option(10, "Passes over the rows.", within=(1, None))
    lr: float = option(1e-5, "Learning rate of Adam, for all weights.")
    augment: bool = option(True, "Random resized crop, flip, rotation, colour jitter.")
    device: str = option("cpu", choices={"cpu": "", "cuda": "mixed precision"})
    force: bool = option(False, "Replace a checkpoint that exists; drop another, interrupted training.")

    def __post_init__(self) -> None:
        LpSettings.__post_init__(self)  # super() does not work in a dataclass with slots
        if self.device == "cuda":
            import torch

            if not torch.cuda.is_available():
                raise ConfigError(
                    "device cuda: torch sees no CUDA device here; use --device cpu, or a CUDA build of torch"
                )

    def to_json(self) -> Json:
        """Return the settings that change the trained weights."""
        return LpSettings.to_json(self) | {"augment": self.augment, "device": self.device}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlcpSettings(FtSettings):
    """The settings of the recipe FLCP; ``classes`` may give each label its name in a prompt."""

    classes: Path | None = option(None, "Labels, one a line, or LABEL<TAB>NAME IN THE PROMPT; or .json.")
    templates: Path | None = option(None, "Prompts, one a line, each with one {}; 'a photo of a {}'.")
    temperature: float = option(0.07, "Of the contrastive loss; it stays as it is.")

    def __post_init__(self) -> None:
        FtSettings.__post_init__(self)
        if self.batch < 2:
            raise ConfigError(f"batch must be at least 2 for a contrastive loss, got {self.batch}")
        if not (math.isfinite(self.temperature) and self.temperature > 0.0):
            raise ConfigError(f"temperature must be a positive number, got {self.temperature}; 0.07 is usual")

    def to_json(self) -> Json:
        """Return the settings that change the trained weights."""
        return FtSettings.to_json(self) | {"temperature": self.temperature}
