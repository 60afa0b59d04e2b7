"""A tiny image-text model and separable images for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

CONFIG = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
}
COLOURS = {"blue": (30, 40, 200), "green": (40, 180, 50), "red": (200, 40, 30)}


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """SOURCE of an open_clip model with random weights."""
    path = tmp_path_factory.mktemp("open_clip") / "tiny.json"
    path.write_text(json.dumps(CONFIG))
    return f"open_clip:{path}"


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of noisy coloured images, three classes: 24 rows of split train, 12 of val; sizes differ."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    lines = ["id,image,label,split,caption,x0,y0,x1,y1"]
    for k in range(36):
        label = sorted(COLOURS)[k % 3]
        noise = rng.normal(0.0, 40.0, (36 + k % 4, 40, 3))
        Image.fromarray((noise + COLOURS[label]).clip(0, 255).astype(np.uint8)).save(root / f"{k}.png")
        lines.append(f"s{k},{k}.png,{label},{'train' if k < 24 else 'val'},anything,0,0,20,20")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root / "manifest.csv"


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
