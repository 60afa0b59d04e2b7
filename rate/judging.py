"""The settings of maps that another tool made: what part of an image they cover, and when one is valid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rate.config import Measurement
from rate.errors import ConfigError
from rate.methods import GIVEN, SaliencyMethod
from rate.option import Settings, option

if TYPE_CHECKING:
    from rate.types import Json  # imports numpy, which `rate --help` does not need

SIZE = 224
"""The usual side, pixels, at which maps and regions are held against each other."""

WHOLE, CENTER, SQUASH = "whole", "center", "squash"

_BLUR = re.compile(r"(?P<kind>cells|rise|gaussian|window):(?P<size>\d{1,4}(?:\.\d{1,4})?)(?::(?P<step>\d{1,4}))?")
_BLURS = "cells:7, rise:7, window:40, window:40:20 or gaussian:8"


@dataclass(frozen=True, slots=True)
class Judging(Settings):
    """The settings of `rate judge` beside those of any run.

    >>> Judging(blur="cells:7").measurement.valid
    'midpoint'
    """

    crop: str | None = option(
        None,
        "What a map covers, if no artifact says it",
        choices={
            WHOLE: "the upright image, in its proportions (usual)",
            SQUASH: "all of it as a square",
            CENTER: "the central square that the model saw",
        },
    )
    size: int | None = option(
        None, f"Side at which maps and regions are compared, pixels; {SIZE}, or the artifact's.", within=(2, 4096)
    )
    resize: int | None = option(
        None, "center: the image's short side before the crop, such as 256; --size.", within=(2, 65536)
    )
    blur: str | None = option(
        None,
        "How coarse the maps are: cells:7 (made of 7 x 7 cells), rise:7 (of masks with such a grid), "
        "window:40[:STRIDE] (by occlusion), gaussian:8 (smoothed); lengths in pixels at --size.",
    )
    evidence: str = option(
        "positive", choices={"positive": "what raises the score", "minmax": "scaled to [0, 1], the paper's"}
    )
    valid: str = option(
        "auto", choices={"absolute": "the paper's rule", "midpoint": "with --blur", "auto": "midpoint with --blur"}
    )
    tau: float = option(0.5, "Threshold of the rule.")
    explain: str = option("label", "Class that the maps explain", choices=("label", "prediction"))

    def __post_init__(self) -> None:
        self.check_options()
        if self.resize is not None and self.crop != CENTER:
            raise ConfigError(f"resize {self.resize}: only a central crop has one; add --crop center, or leave it out")
        if self.resize is not None and self.resize < (self.size or SIZE):
            raise ConfigError(f"resize must be at least size = {self.size or SIZE}, got {self.resize}")
        if self.blur is not None:
            parse_blur(self.blur)
        if self.valid == "midpoint" and self.blur is None:
            raise ConfigError(
                "valid 'midpoint' lies between what the maps can show of the region and of the rest, so it needs their "
                "--blur, such as cells:7; or use --valid absolute"
            )
        assert self.measurement is not None  # which checks the rest

    @property
    def measurement(self) -> GivenMeasurement:
        """The measurement."""
        usual = "absolute" if self.blur is None or self.evidence != "positive" else "midpoint"
        return GivenMeasurement(
            verdict="map",
            evidence=self.evidence,
            valid=usual if self.valid == "auto" else self.valid,
            tau=self.tau,
            explain=self.explain,
            blur=self.blur,
        )


@dataclass(frozen=True)
class GivenMeasurement(Measurement):
    """The measurement of maps that were given; masks, fills and scores are unknown."""

    saliency: str = GIVEN.name
    blur: str | None = None

    @property
    def method(self) -> SaliencyMethod:
        """See `Measurement`."""
        return GIVEN

    def to_json(self) -> Json:
        """See `Measurement`."""
        names = ("saliency", "verdict", "evidence", "valid", "tau", "explain", "blur")
        return {name: getattr(self, name) for name in names}

    def rule(self) -> Json:
        """See `Measurement`."""
        known = {name: getattr(self, name) for name in ("verdict", "evidence", "valid", "tau", "saliency", "blur")}
        return known | {"fill": "none", "masks": GIVEN.masks, "explained": self.explain, "score": None}


def parse_blur(text: str) -> tuple[str, float, int | None]:
    """Parse a blur: its kind, its size, and the stride of a window.

    >>> parse_blur("window:40:20")
    ('window', 40.0, 20)

    Raises:
        ConfigError: it has another form.
    """
    match = _BLUR.fullmatch(text)
    kind, size = (match["kind"], float(match["size"])) if match else ("", 0.0)
    whole = kind == "gaussian" or size.is_integer()
    if match is None or size <= 0 or not whole or (match["step"] is not None and kind != "window"):
        raise ConfigError(f"blur must be such as {_BLURS}; got {text!r}")
    step = None if match["step"] is None else int(match["step"])
    if step == 0:
        raise ConfigError(f"blur {text}: a window moves by at least one pixel")
    return kind, size, step
