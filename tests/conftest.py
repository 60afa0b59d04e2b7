"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and weights outside the repository, named by RATE_TEST_DATA."""
    folder = os.environ.get("RATE_TEST_DATA")
    if not folder:
        pytest.skip("RATE_TEST_DATA is not set: the tests on real images and weights do not run")
    if not Path(folder).is_dir():
        pytest.fail(f"RATE_TEST_DATA is {folder!r}, which is not a folder")
    return Path(folder).resolve()


@pytest.fixture
def image_set(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small set of images, two classes "dark" and "light" with one box each, and its manifest."""

    def write(count: int = 6, side: int = 40, folder: str = "set") -> Path:
        root = tmp_path / folder
        root.mkdir()
        rng = np.random.default_rng(count)
        lines = ["id,image,label,split,group,x0,y0,x1,y1"]
        for k in range(count):
            level = 60 if k % 2 == 0 else 190
            image = rng.normal(level, 40, (side, side + k, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / f"{k}.png")
            label, group = ("dark", "light")[k % 2], f"g{k % 3}"
            lines.append(f"s{k},{k}.png,{label},test,{group},0,0,{side // 2 + k},{side // 2}")
        (root / "manifest.csv").write_text("\n".join(lines) + "\n")
        return root / "manifest.csv"

    return write
