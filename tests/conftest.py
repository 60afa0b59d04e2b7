"""Fixtures shared by all tests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest
from made_once import made_once
from PIL import Image

if TYPE_CHECKING:
    from object_store import ObjectStore

    from rate.artifacts.artifact import Artifact

# Without bytecode every worker, and every command that a test starts, would compile all that it imports.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# pyarrow imports pandas wherever it finds it, a third of the time of a short command; no extra of rate brings it.
HIDING = str(Path(__file__).parent / "without_pandas")
sys.path[:] = [folder for folder in sys.path if folder != HIDING]  # a worker has the environment of pytest
if HIDING not in (given := os.environ.get("PYTHONPATH", "")):
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [HIDING, given]))

# How long an example takes is a matter of the machine.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")


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


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectStore]:
    """An S3 server on this machine, and an empty cache for what is fetched from it."""
    from object_store import running

    from rate.data.storage import remote_cache

    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_cache, "_known", {})
    with running(monkeypatch) as store:
        yield store


def write_images(root: Path, count: int, side: int) -> Path:
    root.mkdir()
    rng = np.random.default_rng(count)
    lines = ["id,image,label,split,group,cluster,x0,y0,x1,y1"]
    for k in range(count):
        level = 60 if k % 2 == 0 else 190
        image = rng.normal(level, 40, (side, side + k, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / f"{k}.png")
        label, group, cluster = ("dark", "light")[k % 2], f"g{k % 3}", f"c{k % 4}"
        lines.append(f"s{k},{k}.png,{label},test,{group},{cluster},0,0,{side // 2 + k},{side // 2}")
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

    def make(root: Path) -> None:
        from rate.export.export import ExportOptions, export_artifact
        from rate.finetune.lp import LpSettings, finetune_lp

        manifest = write_images(root / "set", 8, 80)
        finetune_lp("timm:test_efficientnet", manifest, root / "lp", LpSettings(split="test", epochs=20, threads=1))
        export_artifact(str(root / "lp"), root / "artifact", ExportOptions())

    root = made_once(tmp_path_factory, "trained", make)
    return Trained(root / "artifact", root / "lp", root / "set" / "manifest.csv")


TINY_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
"""A CLIP of 4 x 4 patches."""


@dataclass(frozen=True)
class Tiny:
    """A vision transformer with random weights and a zero-shot head for dark and light, exported in both forms."""

    source: str
    classes: Path
    artifact: Path
    manifest: Path


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """An open_clip model of 32 pixels, pixel form and token form."""

    def make(root: Path) -> None:
        from rate.export.export import ExportOptions, export_artifact

        (root / "tiny.json").write_text(json.dumps({"model_cfg": TINY_CLIP, "preprocess_cfg": {"mean": [0.5] * 3}}))
        (root / "classes.txt").write_text("dark\nlight\n")
        options = ExportOptions(classes=root / "classes.txt", tokens=True)
        export_artifact(f"open_clip:{root / 'tiny.json'}", root / "artifact", options)
        write_images(root / "set", 4, 40)

    root = made_once(tmp_path_factory, "tiny-vit", make)
    source, manifest = f"open_clip:{root / 'tiny.json'}", root / "set" / "manifest.csv"
    return Tiny(source, root / "classes.txt", root / "artifact", manifest)


@pytest.fixture(scope="session")
def shared_artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small exported ONNX model, made once since it costs seconds; copy it before changing anything."""
    import onnx_models

    from rate.export.export import ExportOptions, export_artifact

    folder = tmp_path_factory.mktemp("artifact")
    source = onnx_models.Model(channels=16).save(folder / "model.onnx")
    classes = onnx_models.write_classes(folder / "classes.txt")
    return export_artifact(f"onnx:{source}", folder / "artifact", ExportOptions(classes=classes))


@pytest.fixture
def artifact_copy(shared_artifact: Artifact, tmp_path: Path) -> Path:
    """A folder of one's own."""
    return Path(shutil.copytree(shared_artifact.path, tmp_path / "artifact"))


@pytest.fixture
def disproved(trained: Trained, tmp_path: Path) -> Path:
    """The trained artifact with a parity sample that says otherwise, as if every runtime were wrong."""
    broken = Path(shutil.copytree(trained.artifact, tmp_path / "artifact"))
    with np.load(broken / "parity.npz") as arrays:
        changed = dict(arrays)
    changed["logits_lp"] = changed["logits_lp"][:, ::-1] + 1
    np.savez(broken / "parity.npz", **changed)
    document = json.loads((broken / "artifact.json").read_text())
    document["files"]["parity.npz"] = hashlib.sha256((broken / "parity.npz").read_bytes()).hexdigest()
    (broken / "artifact.json").write_text(json.dumps(document))
    return broken
