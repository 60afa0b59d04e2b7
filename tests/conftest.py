"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
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

    return lambda count=6, side=40, folder="set": write_images(tmp_path / folder, count, side)


def write_images(root: Path, count: int, side: int) -> Path:
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


@dataclass(frozen=True)
class Trained:
    """A tiny model trained on a tiny set, exported."""

    artifact: Path
    checkpoint: Path
    manifest: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A linear probe of a tiny timm tower (random weights) on dark and light images."""
    from rate.export.api import ExportOptions, export_artifact
    from rate.finetune.lp import LpSettings, finetune_lp

    root = tmp_path_factory.mktemp("trained")
    manifest = write_images(root / "set", 8, 80)
    finetune_lp("timm:test_efficientnet", manifest, root / "lp", LpSettings(split="test", epochs=20, threads=1))
    export_artifact(str(root / "lp"), root / "artifact", ExportOptions())
    return Trained(root / "artifact", root / "lp", manifest)
