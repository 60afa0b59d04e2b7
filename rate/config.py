"""Frozen, validated settings. A run's key includes `Measurement`, which decides the result, and not `Execution`."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from rate.errors import ConfigError
from rate.methods import DEFAULT, SaliencyMethod, method_named

if TYPE_CHECKING:
    from rate.types import Json  # imports numpy, which `rate --help` does not need

_CHOICES = {
    "cells": ("fixed", "independent"),
    "evidence": ("positive", "minmax", "raw"),
    "valid": ("midpoint", "absolute"),
    "explain": ("label", "prediction"),
    "score": ("logit", "probability"),
    "backend": ("auto", "tensorrt", "openvino", "onnxruntime", "onnxruntime-cuda", "torch", "torch-cuda"),
    "precision": ("auto", "f32", "fp16", "bf16", "int8"),
}

ON_CUDA = ("tensorrt", "onnxruntime-cuda", "torch-cuda")
"""Backends that need an NVIDIA GPU."""

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3}(,\d{1,3})*)?")


FIXED_MASKS = 1000
"""The number of masks of an image if no standard error exists, that is, with evidence other than positive."""

_AUTO = ("min_masks", "max_masks", "confidence")
_OF_METHODS = ("masks", "grid", "keep", "cells", "window", "stride", "seed", *_AUTO)
"""Settings that only some saliency methods have."""

_CORRUPT = ("corrupt", "corrupt_seed")


@dataclass(frozen=True, slots=True)
class Measurement:
    """The settings that decide a result. Equal measurements of equal data and weights give equal verdicts."""

    saliency: str = DEFAULT  # the name of a method; see `rate.methods`
    # per image (rise, rise-tokens) | auto: until its verdict is clear; None: by evidence
    masks: int | str | None = None
    min_masks: int = 64  # auto: masks before the first checkpoint
    max_masks: int = 2048  # auto: most masks of an image, if its verdict never becomes clear
    confidence: float = 0.99  # auto: confidence at which sampling stops
    grid: int = 7  # side of the mask's grid (rise)
    keep: tuple[float, ...] | float | None = None  # shares of cells kept, in turn; None = the method's
    cells: str = "fixed"  # fixed: exactly that share | independent: each cell by chance, as in the authors' RISE
    window: int | None = None  # side of the window in pixels (occlusion); None = size / 6
    stride: int | None = None  # its step in pixels (occlusion); None = window / 2
    evidence: str = "auto"  # positive | minmax | raw; auto: minmax with attention, as in the paper, else positive
    valid: str = "auto"  # midpoint: localization >= tau | absolute: RMA >= tau, as in the paper; auto: by method
    tau: float = 0.5
    explain: str = "label"  # the class whose score is explained: label, as in the paper | prediction
    score: str = "logit"  # logit | probability
    seed: int = 0
    corrupt: str | None = None  # TYPE:SEVERITY of ImageNet-C, applied to the model's crop of every image
    corrupt_seed: int = 0  # seed of the corruption's random numbers

    def __post_init__(self) -> None:
        self._choose_rule()
        for name in ("cells", "evidence", "valid", "explain", "score"):
            _check_choice(name, getattr(self, name))
        self._check_masks()
        _check_range("grid", self.grid, 2, 64)
        _check_range("seed", self.seed, 0, 2**63 - 1)
        _check_range("corrupt-seed", self.corrupt_seed, 0, 2**63 - 1)
        shares = self.method.keep if self.keep is None else self.keep
        shares = tuple(shares) if isinstance(shares, (tuple, list)) else (shares,)
        if not shares:
            raise ConfigError(
                "keep must be one share of cells or several, got none; the default is 0.1,0.3,0.5,0.7,0.9"
            )
        object.__setattr__(self, "keep", shares)
        for name, values in (("keep", shares), ("tau", (self.tau,))):
            for value in values:
                if not (math.isfinite(value) and 0.0 < value < 1.0):
                    raise ConfigError(f"{name} must lie strictly between 0 and 1, got {value}; such as 0.5")
        self.method.check(self)
        if self.valid == "midpoint" and self.evidence != "positive":
            raise ConfigError(
                f"evidence {self.evidence!r} has no floor and ceiling, so valid must be 'absolute' with it; "
                "add --valid absolute, or use --evidence positive"
            )
        if self.masks == "auto" and self.evidence != "positive":
            raise ConfigError(
                f"masks 'auto' needs a standard error, which positive evidence alone has, got {self.evidence!r}; "
                "give a number, such as --masks 1000"
            )

    def _choose_rule(self) -> None:
        for name, value in zip(("evidence", "valid"), self.method.rule, strict=True):
            if getattr(self, name) == "auto":
                object.__setattr__(self, name, value)

    def _check_masks(self) -> None:
        if self.masks is None:
            object.__setattr__(self, "masks", "auto" if self.evidence == "positive" else FIXED_MASKS)
        if self.masks != "auto":
            if isinstance(self.masks, str):
                raise ConfigError(f"masks must be auto or a whole number, got {self.masks!r}")
            _check_range("masks", self.masks, 2, 10_000_000)
        _check_range("min-masks", self.min_masks, 16, 10_000_000)
        _check_range("max-masks", self.max_masks, self.min_masks, 10_000_000)
        if not 0.96 < self.confidence < 1.0:
            raise ConfigError(f"confidence must lie between 0.96 and 1, got {self.confidence}; the default is 0.99")

    @property
    def most_masks(self) -> int:
        """The largest number of masks that an image can take."""
        return self.masks if isinstance(self.masks, int) else self.max_masks

    def check_evidence(self) -> None:
        """Refuse measurements whose masks cannot show evidence; a measurement of speed may still use them.

        Raises:
            ConfigError: a share of kept cells has fewer than two masks, and scores are compared within a share only.
        """
        fewest = 2 * len(self.shares)
        if "keep" in self.method.settings and self.most_masks < fewest:
            raise ConfigError(
                f"masks {self.masks}: scores are compared among masks that keep equally much, so {fewest // 2} "
                f"shares need at least {fewest} masks; give more, or one share, such as --keep 0.5"
            )

    def to_json(self) -> Json:
        """Return the settings that matter for this saliency method, by name."""
        settings = asdict(self) | {"keep": list(self.shares)}
        unused = {name for name in _OF_METHODS if name not in self.method.settings}
        unused |= {*(() if self.masks == "auto" else _AUTO), *(() if self.corrupt else _CORRUPT)}
        return {name: value for name, value in settings.items() if name not in unused}

    @property
    def shares(self) -> tuple[float, ...]:
        """``keep`` as a tuple, with the default filled in."""
        keep = self.method.keep if self.keep is None else self.keep
        return keep if isinstance(keep, tuple) else (keep,)

    @property
    def method(self) -> SaliencyMethod:
        """The saliency method.

        Raises:
            ConfigError: there is none of that name.
        """
        return method_named(self.saliency)

    @property
    def form(self) -> str:
        """The form of the artifact's graph that this measurement uses: pixels | tokens."""
        return self.method.form

    def rule(self) -> Json:
        """Return the short form that a summary prints beside PT and IR."""
        return {
            "evidence": self.evidence,
            "valid": self.valid,
            "tau": self.tau,
            "saliency": self.saliency,
            "masks": self.method.masks or self.masks,
            "explained": self.explain,
            "score": self.score,
        } | ({"corrupt": self.corrupt} if self.corrupt else {})


@dataclass(frozen=True, slots=True)
class Execution:
    """The settings of a run that do not change a verdict."""

    backend: str = "auto"
    precision: str = "auto"  # precision of the arithmetic: auto | f32 | fp16 | bf16 | int8
    batch: int = 32  # rows of one forward
    threads: int = 0  # threads of the runtime; 0 = all cores that this process may use
    save_maps: int | None = 50  # maps kept per head and quadrant; None = all
    max_errors: float = 0.01  # below 1: a share of the samples; from 1 on: a number of samples
    limit: int | None = None  # number of first samples to evaluate; the run is then partial
    shard: str = "1/1"  # number of one of several equal parts of the samples; the run is then partial
    repair: bool = False  # evaluate damaged, missing and failed samples again
    runner: str = "local"  # local | ray: embedded | ray://ADDRESS: a cluster | ray://auto
    workers: int = 0  # number of worker processes; 0 = one (local), as many as fit (ray)
    device: str = "auto"  # auto: a GPU if there is one | cpu | cuda | cuda:N | cuda:N,M,...: one worker on each GPU

    def __post_init__(self) -> None:
        _check_choice("backend", self.backend)
        _check_choice("precision", self.precision)
        if self.runner not in ("local", "ray") and not self.runner.startswith("ray://"):
            raise ConfigError(f"runner must be local, ray, or ray://ADDRESS of a cluster; got {self.runner!r}")
        _check_range("workers", self.workers, 0, 10_000)
        self._check_device()
        _check_range("batch", self.batch, 1, 4096)
        _check_range("threads", self.threads, 0, 1024)
        if self.save_maps is not None:
            _check_range("save-maps", self.save_maps, 0, 10_000_000)
        if self.limit is not None:
            _check_range("limit", self.limit, 1, 10**12)
        if not (math.isfinite(self.max_errors) and self.max_errors >= 0):
            raise ConfigError(f"max-errors must be a share below 1 or a number of samples, got {self.max_errors}")

    def _check_device(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise ConfigError(
                f"device must be auto, cpu, cuda, cuda:N or cuda:N,M, got {self.device!r}; such as cuda:0"
            )
        if len(set(self.gpus)) < len(self.gpus):
            raise ConfigError(f"device {self.device} names a GPU twice; give each once")
        if len(self.gpus) > 1 and (self.runner != "local" or self.workers not in (0, len(self.gpus))):
            raise ConfigError(
                f"device {self.device} has one worker of this machine on each GPU; leave --workers and --runner out"
            )
        kind = self.device.partition(":")[0]
        able = {"auto": True, "cpu": self.backend not in ON_CUDA, "cuda": self.runtime in ("auto", *ON_CUDA)}
        if not able[kind]:
            raise ConfigError(
                f"backend {self.backend} does not run on device {self.device}; leave one of them out, or use "
                f"--backend {'onnxruntime' if kind == 'cpu' else 'onnxruntime-cuda'}"
            )

    @property
    def gpus(self) -> tuple[int, ...]:
        """The numbers of the GPUs that ``device`` lists."""
        kind, _, numbers = self.device.partition(":")
        return tuple(map(int, numbers.split(","))) if kind == "cuda" and numbers else ()

    @property
    def runtime(self) -> str:
        """The backend on this device: onnxruntime and torch have separate backends for a GPU."""
        on_cuda = f"{self.backend}-cuda"
        return on_cuda if self.device.startswith("cuda") and on_cuda in ON_CUDA else self.backend

    @property
    def in_one_process(self) -> Execution:
        """The same for what one process does on one device: the first GPU of several."""
        return replace(self, device=f"cuda:{self.gpus[0]}" if self.gpus else self.device, workers=0, runner="local")

    def check_one_device(self, what: str) -> None:
        """Refuse several GPUs for ``what`` runs on one.

        Raises:
            ConfigError: names one that may be asked for.
        """
        if len(self.gpus) > 1:
            raise ConfigError(f"device {self.device}: {what} runs on one GPU; name it, such as cuda:{self.gpus[0]}")

    def errors_allowed(self, samples: int) -> int:
        """Compute how many of ``samples`` may fail before a run counts as failed; it is less than ``samples``."""
        allowed = int(self.max_errors * samples) if self.max_errors < 1 else int(self.max_errors)
        return max(min(allowed, samples - 1), 0)


def _check_choice(name: str, value: Any) -> None:
    if value not in _CHOICES[name]:
        raise ConfigError(f"{name} must be one of {', '.join(_CHOICES[name])}; got {value!r}")


def _check_range(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} must be a whole number from {low} to {high}, got {value!r}")
