"""Small files in the forms that the public data sets have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image


def picture(path: Path, size: tuple[int, int] = (40, 30), mode: str = "RGB", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(size[0])
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)).convert(mode).save(path, **options)
    return path


def voc(path: Path, size: tuple[int, int], *objects: tuple[str, Sequence[float]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = ("xmin", "ymin", "xmax", "ymax")
    found = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, box, strict=True))
        + "</bndbox></object>"
        for name, box in objects
    )
    shape = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    path.write_text(f"<annotation><folder>x</folder><filename>%s</filename>{shape}{found}</annotation>")
    return path


def mat(path: Path, **variables: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, variables)
    return path


def cells(texts: Sequence[object]) -> np.ndarray:
    """A column of MATLAB cells."""
    column = np.empty((len(texts), 1), object)
    column[:, 0] = texts
    return column
