"""The settings that decide a result; a run's key includes them. How it is carried out: `rate.execution`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

from rate.errors import ConfigError
from rate.methods import DEFAULT, METHODS, SaliencyMethod, method_named
from rate.option import Settings, check_range, option, separated

if TYPE_CHECKING:
    from rate.types import Json  # imports numpy, which `rate --help` does not need

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

_AUTO = ("min_masks", "max_masks", "confidence")
_BUILT_IN = METHODS.built_in.values()
_OF_METHODS = {name for method in _BUILT_IN for name in method.settings}
"""Settings that only some saliency methods have."""

_CORRUPT = ("corrupt", "corrupt_seed")
_OF_SWAP = ("fills", "margin", "ramp")
_OF_MAPS = ("saliency", "masks", "min_masks", "max_masks", "confidence", "grid", "keep", "cells", "window", "stride")
_RULE_OF_MAPS = ("evidence", "valid")


def number_or_word(text: str) -> int | str:
    """Read a number of masks or fills; anything else is for `Measurement` to judge."""
    return int(text) if text.isdecimal() else text


def _rule(position: int) -> str:
    usual = METHODS[DEFAULT].rule[position]
    others = [one for one in _BUILT_IN if one.rule[position] != usual]
    return "".join((usual, *(f", and with {one.name} {one.rule[position]}" for one in others)))


def _of(setting: str) -> str:
    return ", ".join(one.name for one in _BUILT_IN if setting in one.settings)


_KEEP = "; ".join(f"{','.join(map(str, one.keep))} ({one.name})" for one in _BUILT_IN if "keep" in one.settings)


@dataclass(frozen=True, slots=True)
class Measurement(Settings):
    """The settings that decide a result. Equal measurements of equal data and weights give equal verdicts."""

    saliency: str = option(
        None, f"Of a map; {DEFAULT}", choices={one.name: one.hint for one in _BUILT_IN}, more=METHODS
    )
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
            "auto": "centred for swap, logit for a map, log-odds of generative models",
        },
    )
    seed: int = option(0, "Of the masks.", within=(0, 2**63 - 1))
    pixel_path: str = option(
        "pillow",
        "Decodes and resizes",
        choices={"pillow": "", "torchvision": "faster, other pixels by two levels at most: never mix the two"},
    )
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
    def of_questions(self) -> Measurement:
        """The same for a generative model, whose usual score is the log-odds of the answer over the options.

        Raises:
            ConfigError: a score is asked for that is neither log-odds nor probability.
        """
        if self.score in ("log-odds", "probability"):
            return self
        if self.score != ("centred" if self.verdict == "swap" else "logit"):
            raise ConfigError(
                f"score {self.score}: of a generative model it is log-odds, over the options of the row's question, or "
                "probability; leave --score out"
            )
        return replace(self, score="log-odds")

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
        """Return the settings that matter for this saliency method, by name, and the package of a plug-in's method."""
        settings = asdict(self) | {"keep": list(self.shares)}
        if self.verdict == "swap":
            unused = {*_OF_MAPS, *_RULE_OF_MAPS}
        else:
            unused = {name for name in _OF_METHODS if name not in self.method.settings} | {*_OF_SWAP}
            unused |= {*(() if self.masks == "auto" else _AUTO)}
            if self.with_pictures:
                unused.discard("seed")
        unused |= {"pixel_path", *(() if self.corrupt else _CORRUPT)}  # the identity of a run holds the former
        plugin = METHODS.plugin(self.saliency) if self.verdict == "map" else None
        made_by = {} if plugin is None else {"plugin": f"{plugin.package} {plugin.version}"}
        return {name: value for name, value in settings.items() if name not in unused} | made_by

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
