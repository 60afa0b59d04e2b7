"""Frozen, validated settings. `Measurement` decides the result and is part of a run's key; `Execution` does not."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rate.errors import ConfigError

if TYPE_CHECKING:
    from rate.types import Json  # brings numpy, which `rate --help` can do without

_CHOICES = {
    "saliency": ("rise", "occlusion"),
    "cells": ("fixed", "independent"),
    "evidence": ("positive", "minmax", "raw"),
    "valid": ("midpoint", "absolute"),
    "explain": ("label", "prediction"),
    "score": ("logit", "probability"),
    "backend": ("auto", "openvino", "onnxruntime"),
    "precision": ("auto", "f32", "bf16"),
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is measured. Two runs with equal measurements on equal data and weights give equal verdicts."""

    saliency: str = "rise"  # rise | occlusion
    masks: int = 1000  # masks an image (rise)
    grid: int = 7  # side of the mask's grid (rise)
    keep: float = 0.7  # share of cells kept (rise); RISE's authors have 0.5, which planted truth speaks against
    cells: str = "fixed"  # fixed: that share exactly | independent: the reference RISE
    window: int | None = None  # side of the window in pixels (occlusion); None = size / 6
    stride: int | None = None  # its step in pixels (occlusion); None = window / 2
    evidence: str = "positive"  # positive | minmax | raw
    valid: str = "midpoint"  # midpoint: localization >= tau | absolute: RMA >= tau, the paper's rule
    tau: float = 0.5
    explain: str = "label"  # the class whose score is explained: label, as the paper | prediction
    score: str = "logit"  # logit | probability
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("saliency", "cells", "evidence", "valid", "explain", "score"):
            _check_choice(name, getattr(self, name))
        _check_range("masks", self.masks, 2, 10_000_000)
        _check_range("grid", self.grid, 2, 64)
        _check_range("seed", self.seed, 0, 2**63 - 1)
        for name, usual in (("keep", 0.7), ("tau", 0.5)):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0.0 < value < 1.0):
                raise ConfigError(f"{name} must lie strictly between 0 and 1, got {value}; the default is {usual}")
        if self.valid == "midpoint" and self.evidence != "positive":
            raise ConfigError(
                f"evidence {self.evidence!r} has no floor and ceiling, so valid must be 'absolute' with it; "
                "add --valid absolute, or use --evidence positive"
            )

    def to_json(self) -> Json:
        """The settings that matter for this saliency method, by name."""
        unused = {"rise": ("window", "stride"), "occlusion": ("masks", "grid", "keep", "cells", "seed")}[self.saliency]
        return {name: value for name, value in asdict(self).items() if name not in unused}

    def rule(self) -> Json:
        """The short form that a summary prints beside PT and IR."""
        return {
            "evidence": self.evidence,
            "valid": self.valid,
            "tau": self.tau,
            "saliency": self.saliency,
            "masks": self.masks if self.saliency == "rise" else "windows",
            "explained": self.explain,
            "score": self.score,
        }


@dataclass(frozen=True, slots=True)
class Execution:
    """How a run is carried out. Nothing here changes a verdict."""

    backend: str = "auto"
    precision: str = "auto"  # of the arithmetic: auto | f32 | bf16
    batch: int = 32  # rows a forward
    threads: int = 0  # threads of the runtime; 0 = the cores this process may use
    save_maps: int | None = 50  # maps kept per head and quadrant; None = all
    max_errors: float = 0.01  # below 1 a share of the samples, from 1 on a number of samples
    limit: int | None = None  # first samples only; the run is then partial

    def __post_init__(self) -> None:
        _check_choice("backend", self.backend)
        _check_choice("precision", self.precision)
        _check_range("batch", self.batch, 1, 4096)
        _check_range("threads", self.threads, 0, 1024)
        if self.save_maps is not None:
            _check_range("save-maps", self.save_maps, 0, 10_000_000)
        if self.limit is not None:
            _check_range("limit", self.limit, 1, 10**12)
        if not (math.isfinite(self.max_errors) and self.max_errors >= 0):
            raise ConfigError(f"max-errors must be a share below 1 or a number of samples, got {self.max_errors}")

    def errors_allowed(self, samples: int) -> int:
        """How many of ``samples`` may fail before a run counts as failed; never all of them."""
        allowed = int(self.max_errors * samples) if self.max_errors < 1 else int(self.max_errors)
        return min(allowed, samples - 1)


def _check_choice(name: str, value: Any) -> None:
    if value not in _CHOICES[name]:
        raise ConfigError(f"{name} must be one of {', '.join(_CHOICES[name])}; got {value!r}")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} must be a whole number from {low} to {high}, got {value!r}")
