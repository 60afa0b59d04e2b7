"""The README is short, and what it tells people to type works as it is written."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rate
from rate.cli.main import run

ROOT = Path(rate.__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCE = "open_clip:ViT-B-32-quickgelu:openai"


def blocks(kind: str) -> list[str]:
    return [content for found, content in re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL) if found == kind]


def test_it_is_read_in_one_sitting() -> None:
    assert len(TEXT.encode()) <= 8000


@pytest.fixture
def tiny_encoder(tmp_path: Path) -> str:
    """An image-text model of the family that the README names, with random weights."""
    model = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}))
    return f"open_clip:{config}"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of pictures with masks, in the folders that the README names; the process works beside them."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 5)):
        for name, level in (("cat", 60), ("dog", 190)):
            for kind in ("photos", "masks"):
                (tmp_path / kind / split / name).mkdir(parents=True)
            for k in range(count):
                pixels = rng.normal(level, 40, (48, 48, 3)).clip(0, 255).astype(np.uint8)
                mask = np.zeros((48, 48), np.uint8)
                mask[8:30, 10:34] = 255
                Image.fromarray(pixels).save(tmp_path / "photos" / split / name / f"{k}.jpg")
                Image.fromarray(mask).save(tmp_path / "masks" / split / name / f"{k}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_run_in_their_order(photos: Path, tiny_encoder: str) -> None:
    [commands] = [block for block in blocks("") if block.startswith("pip install")]
    for line in commands.splitlines()[1:]:
        words = shlex.split(line.replace(SOURCE, tiny_encoder))
        assert words[0] == "rate"
        assert run(words[1:]) == 0, line
    assert (photos / "classes.txt").read_text() == "cat\ndog\n"
    assert (photos / "report.html").stat().st_size > 10_000
    (photos / "gate.toml").write_text(blocks("toml")[0].replace("500", "5"))
    [gate] = [block for block in blocks("") if block.startswith("rate gate")]
    words = shlex.split(gate.replace("released@lp", "run@lp"))
    assert run(words[1:]) in (0, 1, 3)
    assert (photos / "gate.xml").exists()
    assert (photos / "summary.md").exists()
