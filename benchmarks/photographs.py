"""Images of photographs' size for speed measurements, where content does not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write(folder: Path, images: int, classes: int) -> tuple[Path, Path]:
    """Write JPEGs, their manifest, and a file of class names; returns the paths of the latter two."""
    rng = np.random.default_rng(0)
    rows = ["image,label,x0,y0,x1,y1"]
    for k in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{k}.jpg", quality=92)
        rows.append(f"{k}.jpg,class {k % classes},120,80,360,300")
    (folder / "data.csv").write_text("\n".join(rows) + "\n")
    (folder / "classes.txt").write_text("".join(f"class {k}\n" for k in range(classes)))
    return folder / "data.csv", folder / "classes.txt"
