"""Frozen, validated settings. A run's key includes `Measurement`, which decides the result, and not `Execution`."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

from rate.errors import ConfigError
from rate.methods import DEFAULT, METHODS, MethodHints, SaliencyMethod, method_named
from rate.option import Settings, check_range, option, separated

if TYPE_CHECKING:
    from rate.types import Json  # imports numpy, which `rate --help` does not need

ON_CUDA = ("tensorrt", "onnxruntime-cuda", "torch-cuda")
"""Backends that need an NVIDIA GPU."""

BATCH, GPU_BATCH = 32, 256
"""The usual rows of a forward on a CPU and on a GPU, which smaller ones leave idle."""

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3}(,\d{1,3})*)?")


THREADS = "Threads of the runtime; 0 = all this process may use."
"""The help of every option of that name."""

FIXED_MASKS = 1000
"""The number of masks of an image if no standard error exists, that is, with evidence other than positive."""

MOST_FILLS = 32
"""The most fills of a sample whose verdict never becomes clear."""

FEWEST_FILLS = 4
"""The fills before the first checkpoint of the stopping rule."""

FILLS_OF_MAPS = 8
"""The number of pictures that take turns behind the masks of a map."""

MASKS_DRAWN = 512
"""The number of masks of a map that is drawn beside swaps, if none is given."""

MAPS_KEPT, MAPS_DRAWN = 50, 4
"""The usual number of saved maps of a head and quadrant: where maps decide, and where they are drawn beside swaps.

A map beside swaps costs as many forwards as the verdicts on some thirty samples.
"""

_AUTO = ("min_masks", "max_masks", "confidence")
_OF_METHODS = {name for method in METHODS.values() for name in method.settings}
"""Settings that only some saliency methods have."""

_CORRUPT = ("corrupt", "corrupt_seed")
_OF_SWAP = ("fills", "margin", "ramp")
_OF_MAPS = ("saliency", "masks", "min_masks", "max_masks", "confidence", "grid", "keep", "cells", "window", "stride")
_RULE_OF_MAPS = ("evidence", "valid")


def number_or_word(text: str) -> int | str:
    """Read a number of masks or fills; anything else is for `Measurement` to judge."""
    return int(text) if text.isdecimal() else text


def _maps(text: str) -> int | str | None:
    named: dict[str, int | str | None] = {"none": 0, "all": None, "auto": "auto"}
    return named[text] if text in named else int(text)


def _rule(position: int) -> str:
    usual = METHODS[DEFAULT].rule[position]
    others = [one for one in METHODS.values() if one.rule[position] != usual]
    return "".join((usual, *(f", and with {one.name} {one.rule[position]}" for one in others)))


def _of(setting: str) -> str:
    return ", ".join(one.name for one in METHODS.values() if setting in one.settings)


_KEEP = "; ".join(f"{','.join(map(str, one.keep))} ({one.name})" for one in METHODS.values() if "keep" in one.settings)


@dataclass(frozen=True, slots=True)
class Measurement(Settings):
    """The settings that decide a result. Equal measurements of equal data and weights give equal verdicts."""

    saliency: str = option(None, f"Of a map; {DEFAULT}", choices=MethodHints())
    verdict: str = option(
        "auto",
        "What decides",
        choices={
            "swap": "region and rest swapped with other pictures",
            "map": "a saliency map's mass",
            "auto": "map where a setting of maps is given, else swap",
        },
    )
    fill: str = option(
        "auto",
        "Stands where a pixel is hidden: mean | own (the image's own mean) | pictures (others of the set) | a folder "
        "of pictures; auto: pictures for swap, mean for a map.",
    )
    fills: int | str = option(
        "auto",
        f"swap: auto, {FEWEST_FILLS} to {MOST_FILLS} pictures until the verdict is clear, or a number.",
        parse=number_or_word,
    )
    margin: float = option(0.0625, "swap: a mask is grown by this share of the side; boxes stay.")
    ramp: float = option(0.03125, "swap: and fades over this share, so that no outline shows.")
    masks: int | str | None = option(
        None,
        f"auto: until the verdict is clear (positive evidence) | N an image ({FIXED_MASKS} else).",
        parse=number_or_word,
    )
    min_masks: int = option(
        64, "auto: masks before the first checkpoint of the stopping rule.", within=(16, 10_000_000)
    )
    max_masks: int = option(2048, "auto: masks of an image that never becomes clear.")
    confidence: float = option(
        0.965, "auto: share of verdicts that are to be right; calibrated for the usual --min-masks and --max-masks."
    )
    grid: int = option(7, f"Side of the mask's grid ({_of('grid')}).", within=(2, 64))
    keep: tuple[float, ...] | float | None = option(
        None,
        f"Share of cells kept, or several taken in turn; {_KEEP}.",
        parse=separated(float),
        expected="shares between 0 and 1 with commas between them",
    )
    cells: str = option("fixed", choices={"fixed": "that share exactly", "independent": "the reference RISE"})
    window: int | None = option(None, f"Side of the window, pixels ({_of('window')}); size / 6.")
    stride: int | None = option(None, f"Its step, pixels ({_of('stride')}); window / 2.")
    evidence: str = option("auto", choices={"positive": "", "minmax": "", "raw": "", "auto": _rule(0)})
    valid: str = option("auto", choices={"midpoint": "", "absolute": "the paper's rule", "auto": _rule(1)})
    tau: float = option(0.5, "Threshold of the rule.")
    explain: str = option("label", "Class whose score is explained", choices=("label", "prediction"))
    score: str = option(
        "auto",
        choices={
            "logit": "",
            "centred": "logit less the mean of all classes",
            "log-odds": "",
            "probability": "",
            "auto": "centred for swap, logit for a map",
        },
    )
    seed: int = option(0, "Of the masks.", within=(0, 2**63 - 1))
    corrupt: str | None = None  # TYPE:SEVERITY of ImageNet-C, applied to the model's crop of every image
    corrupt_seed: int = option(0, "Of what is chance in a corruption.", within=(0, 2**63 - 1))

    def __post_init__(self) -> None:
        self._choose_verdict()
        self.check_options()
        self._check_fills()
        if self.verdict == "map":
            self._choose_rule()
            self._check_masks()
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
        if self.verdict == "swap":
            self._check_drawn()
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

    def _choose_verdict(self) -> None:
        chosen = {"verdict": self.verdict, "fill": self.fill, "score": self.score}
        if self.verdict == "auto":
            usual = {field.name: field.default for field in fields(self)}
            given = any(getattr(self, name) != usual[name] for name in (*_OF_MAPS, *_RULE_OF_MAPS))
            chosen["verdict"] = "map" if given or self.fill in ("mean", "own") else "swap"
        swaps = chosen["verdict"] == "swap"
        if self.fill == "auto":
            chosen["fill"] = "pictures" if swaps else "mean"
        if self.score == "auto":
            chosen["score"] = "centred" if swaps else "logit"
        chosen["saliency"] = DEFAULT if self.saliency is None else self.saliency
        for name, value in chosen.items():
            object.__setattr__(self, name, value)

    def _check_fills(self) -> None:
        if self.verdict == "swap":
            if self.fill in ("mean", "own"):
                raise ConfigError(
                    f"fill {self.fill!r}: swap compares with several other pictures; use --fill pictures or a folder "
                    "of pictures, or --verdict map"
                )
            if self.fills != "auto":
                check_range("fills", self.fills, 2, 256)
        elif self.fill != "mean" and self.method.form != "pixels":
            raise ConfigError(f"{self.saliency} hides nothing behind a fill, got fill {self.fill!r}; leave --fill out")
        for name in ("margin", "ramp"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise ConfigError(f"{name} must be a share of the side from 0 to 0.5, got {getattr(self, name)}")

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
            check_range("masks", self.masks, 2, 10_000_000)
        check_range("max-masks", self.max_masks, self.min_masks, 10_000_000)
        if not 0.9 < self.confidence < 1.0:
            raise ConfigError(f"confidence must lie between 0.9 and 1, got {self.confidence}; the default is 0.965")

    def _check_drawn(self) -> None:
        """Check the settings of the maps that are drawn beside swaps, with the graph that the swaps use."""
        drawn = self.of_map
        if drawn.method.kernel is None or drawn.form != "pixels":
            able = ", ".join(one.name for one in METHODS.values() if one.kernel and one.form == "pixels")
            raise ConfigError(
                f"saliency {self.saliency!r} needs another graph than swaps, whose pictures are maps of {able}; "
                "choose one of these, or --verdict map"
            )

    @property
    def most_fills(self) -> int:
        """The largest number of pictures that an image meets."""
        if self.verdict == "swap":
            return self.fills if isinstance(self.fills, int) else MOST_FILLS
        return FILLS_OF_MAPS

    @property
    def fewest_fills(self) -> int:
        """The number of pictures that every image must be able to meet."""
        if self.verdict == "swap" and self.fills == "auto":
            return FEWEST_FILLS
        return self.most_fills if self.verdict == "swap" else 1

    @property
    def with_pictures(self) -> bool:
        """Whether other pictures stand where a pixel is hidden."""
        return self.fill not in ("mean", "own")

    @property
    def of_map(self) -> Measurement:
        """The same for a map, which is drawn of saved samples where swaps decide."""
        if self.verdict == "map":
            return self
        return replace(self, verdict="map", fill="mean", masks=MASKS_DRAWN if self.masks is None else self.masks)

    @property
    def most_masks(self) -> int:
        """The largest number of masks that an image can take."""
        return self.masks if isinstance(self.masks, int) else self.max_masks

    def check_evidence(self) -> None:
        """Refuse measurements whose masks cannot show evidence; a measurement of speed may still use them.

        Raises:
            ConfigError: a share of kept cells has fewer than two masks, and scores are compared within a share only.
        """
        fewest, drawn = 2 * len(self.shares), self.of_map
        if "keep" in self.method.settings and drawn.most_masks < fewest:
            raise ConfigError(
                f"masks {drawn.masks}: scores are compared among masks that keep equally much, so {fewest // 2} "
                f"shares need at least {fewest} masks; give more, or one share, such as --keep 0.5"
            )

    def to_json(self) -> Json:
        """Return the settings that matter for this saliency method, by name."""
        settings = asdict(self) | {"keep": list(self.shares)}
        if self.verdict == "swap":
            unused = {*_OF_MAPS, *_RULE_OF_MAPS}
        else:
            unused = {name for name in _OF_METHODS if name not in self.method.settings} | {*_OF_SWAP}
            unused |= {*(() if self.masks == "auto" else _AUTO)}
            if self.with_pictures:
                unused.discard("seed")
        unused |= {*(() if self.corrupt else _CORRUPT)}
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
        return self.method.form if self.verdict == "map" else "pixels"

    def rule(self) -> Json:
        """Return the short form that a summary prints beside PT and IR."""
        asked = {"verdict": self.verdict, "fill": self.fill, "tau": self.tau}
        if self.verdict == "swap":
            asked |= {"evidence": "share", "valid": "absolute", "fills": self.fills}
            asked |= {"margin": self.margin, "ramp": self.ramp}
        else:
            asked |= {"evidence": self.evidence, "valid": self.valid, "saliency": self.saliency}
            asked |= {"masks": self.method.masks or self.masks}
        asked |= {"explained": self.explain, "score": self.score}
        return asked | ({"corrupt": self.corrupt} if self.corrupt else {})


@dataclass(frozen=True, slots=True)
class Execution(Settings):
    """The settings of a run that do not change a verdict."""

    backend: str = option(
        "auto",
        choices=("auto", "tensorrt", "openvino", "onnxruntime", "onnxruntime-cuda", "torch", "torch-cuda"),
    )
    precision: str = option("auto", choices=("auto", "f32", "fp16", "bf16", "int8"))
    batch: int = option(0, f"Rows a forward; 0 = {BATCH}, on a GPU {GPU_BATCH}.", within=(0, 4096))
    threads: int = option(0, THREADS, within=(0, 1024))
    save_maps: int | str | None = option(
        "auto",
        f"Maps kept per head and quadrant: none | K | all; auto: {MAPS_KEPT}, or {MAPS_DRAWN} where swaps decide; "
        f"those are drawn afterwards, of {MASKS_DRAWN} masks if --masks is not given, and decide nothing.",
        panel="Output",
        parse=_maps,
        expected="none, all, auto, or a number a quadrant",
    )
    max_errors: float = option(0.01, "Failed samples allowed: a share below 1, or a number. More: exit code 4.")
    limit: int | None = option(None, "Only the first rows; the run is then partial.", within=(1, 10**12))
    shard: str = option("1/1", "NUMBER/OF: only this part of the samples; see `rate merge`.")
    repair: bool = option(False, "Evaluate again what is damaged, missing or failed in the run.")
    runner: str = option("local", "local | ray | ray://ADDRESS of a cluster")
    workers: int = option(0, "Processes that share the work; 0 = one, or on Ray as many as fit.", within=(0, 10_000))
    device: str = option("auto", "auto: a GPU if there is one | cpu | cuda | cuda:N | cuda:N,M,..: a worker on each")

    def __post_init__(self) -> None:
        self.check_options()
        if self.runner not in ("local", "ray") and not self.runner.startswith("ray://"):
            raise ConfigError(f"runner must be local, ray, or ray://ADDRESS of a cluster; got {self.runner!r}")
        if self.save_maps not in (None, "auto"):
            check_range("save-maps", self.save_maps, 0, 10_000_000)
        self._check_device()
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

    def batch_on(self, backend: str) -> int:
        """Return the rows of a forward on a backend of that name."""
        return self.batch or (GPU_BATCH if backend in ON_CUDA else BATCH)

    @property
    def in_one_process(self) -> Execution:
        """The same for what one process does on one device: the first GPU of several."""
        return replace(self, device=f"cuda:{self.gpus[0]}" if self.gpus else self.device, workers=0, runner="local")

    def maps_kept(self, verdict: str) -> int | None:
        """Return the number of maps that are kept per head and quadrant where ``verdict`` decides; None = all."""
        usual = MAPS_DRAWN if verdict == "swap" else MAPS_KEPT
        return usual if isinstance(self.save_maps, str) else self.save_maps

    def errors_allowed(self, samples: int) -> int:
        """Compute how many of ``samples`` may fail before a run counts as failed; it is less than ``samples``."""
        allowed = int(self.max_errors * samples) if self.max_errors < 1 else int(self.max_errors)
        return max(min(allowed, samples - 1), 0)
