"""The geometry of a model that does not say how its images are prepared: from options, with usual values."""

from __future__ import annotations

import math
from typing import Any

from rate.data.images.geometry import Geometry
from rate.export.options import ExportOptions

USUAL: dict[str, Any] = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bilinear",
    "crop_pct": 0.875,
}
"""ImageNet's, for what is not given."""


def stated_geometry(size: int, options: ExportOptions) -> tuple[Geometry, tuple[str, ...]]:
    """Return the geometry from the options for an input of ``size`` pixels a side, and a notice of assumed values.

    Raises:
        ConfigError: a value is out of range.
    """
    given = {name: getattr(options, name) for name in USUAL if getattr(options, name) is not None}
    assumed = [f"--{name.replace('_', '-')} {_flag(value)}" for name, value in USUAL.items() if name not in given]
    values = USUAL | given
    resize = math.floor(size / values["crop_pct"])
    geometry = Geometry(size, resize, values["mean"], values["std"], "center", values["interpolation"])
    notice = f"assumed {' '.join(assumed)}: wrong ones give wrong numbers, so give those the model was trained with"
    return geometry, (notice,) if assumed else ()


def _flag(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
