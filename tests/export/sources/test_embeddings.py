"""Heads from text embeddings in a file: the logits of the text tower that made them, and refusals by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rate.errors import UsageError
from rate.export.export import ExportOptions
from rate.export.sources.open_source import open_source
from rate.types import Float32

DIM = 32


@pytest.fixture(scope="module")
def text(tiny_vit) -> Float32:
    """The text tower's own unit vectors of dark and light."""
    source = open_source(tiny_vit.source, ExportOptions(classes=tiny_vit.classes))
    return source.heads[0].module.weight.numpy()


def opened(tiny_vit, head: str, source: str | None = None):
    return open_source(source or tiny_vit.source, ExportOptions(heads=(f"own=embeddings:{head}",)))


def test_the_text_towers_own_vectors_give_its_own_logits(tiny_vit, text: Float32, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("a.npy", "b.npz", "c.npz", "d.safetensors", "e.safetensors")}
    np.save(files["a.npy"], text.astype(np.float64))
    np.savez(files["b.npz"], embeddings=text, classes=np.array(["dark", "light"]))
    np.savez(files["c.npz"], dark=text[0], light=text[1])
    rows = torch.from_numpy(text)
    save_file({"embeddings": 9 * rows}, files["d.safetensors"], {"classes": json.dumps(["dark", "light"])})
    save_file({"light": rows[1].clone(), "dark": rows[0].clone()}, files["e.safetensors"])
    heads = [f"{path.stem}=embeddings:{path}" for path in files.values()]
    heads[0] += f":{tiny_vit.classes}"
    source = open_source(tiny_vit.source, ExportOptions(classes=tiny_vit.classes, heads=tuple(heads)))
    assert source.notices[-1].startswith("head d: its vectors are 9 to 9 long and are divided by their lengths")
    logits = source.logits(np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32))
    for info in source.infos:
        order = [("dark", "light").index(name) for name in info.classes]
        np.testing.assert_allclose(logits[info.name], logits["zs"][:, order], atol=1e-4)


def test_a_tower_without_text_takes_the_scale_from_the_file(trained, tmp_path: Path) -> None:
    source = open_source(str(trained.checkpoint), ExportOptions())
    rows = np.random.default_rng(0).normal(size=(3, source.dim)).astype(np.float32)
    names = {"classes": np.array(["x", "y", "z"])}
    np.savez(tmp_path / "bare.npz", embeddings=rows, **names)
    with pytest.raises(UsageError, match=r"reads no text and so has no scale for the cosine; put a number `scale`"):
        opened(None, f"{tmp_path / 'bare.npz'}", str(trained.checkpoint))
    np.savez(tmp_path / "own.npz", embeddings=rows, scale=np.float32(20), bias=np.float32(-3), **names)
    source = opened(None, f"{tmp_path / 'own.npz'}", str(trained.checkpoint))
    pixels = np.random.default_rng(1).normal(size=(2, 3, source.geometry.size, source.geometry.size))
    with torch.inference_mode():
        features = source.tower(torch.from_numpy(pixels.astype(np.float32))).numpy()
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(source.logits(pixels.astype(np.float32))["own"], 20 * features @ rows.T - 3, atol=1e-4)


UNIT = np.eye(2, DIM, dtype=np.float32)
NAMES = np.array(["dark", "light"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"embeddings": UNIT}, r"does not name its 2 rows; write embeddings:.*:CLASSES"),
        ({"embeddings": UNIT[:, :9], "classes": NAMES}, r"shape \(2, 9\), expected \[classes, 32\] for this model"),
        ({"embeddings": UNIT.T, "classes": NAMES}, "the other way round, save its transpose"),
        ({"embeddings": UNIT[0], "classes": NAMES}, r"shape \(32,\)"),
        ({"embeddings": UNIT * [[1], [0]], "classes": NAMES}, "'light' has the length 0.0; it has no direction"),
        ({"embeddings": UNIT * [[1], [np.nan]], "classes": NAMES}, "'light' has the length nan"),
        ({"embeddings": UNIT.astype(int), "classes": NAMES}, "holds int64, expected floating point"),
        ({"embeddings": UNIT, "classes": NAMES[:1]}, "has 1 classes and 2 rows"),
        ({"embeddings": UNIT, "classes": np.array(["dark", "dark"])}, "'dark' is empty or stands there twice"),
        ({"embeddings": UNIT, "classes": NAMES.astype(object)}, "Python objects, which are not unpickled"),
        ({"embeddings": UNIT, "classes": np.arange(2)}, "must be a list of names"),
        ({"embeddings": UNIT, "classes": NAMES, "scale": np.float32(-1)}, "`scale` must be a positive number"),
        ({"dark": UNIT[0], "light": UNIT[1][:9]}, r"holds dark \(32,\), light \(9,\); expected `embeddings`"),
    ],
)
def test_what_is_no_head_is_refused(tiny_vit, tmp_path: Path, arrays, message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UsageError, match=message):
        opened(tiny_vit, f"{tmp_path / 'x.npz'}")


def test_a_file_of_another_kind_is_refused(tiny_vit, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "packed.npz", embeddings=UNIT, classes=NAMES)
    np.save(tmp_path / "bare.npy", UNIT)
    np.savez(tmp_path / "named.npz", embeddings=UNIT, classes=NAMES)
    save_file({"embeddings": torch.eye(2, DIM)}, tmp_path / "named.safetensors", {"classes": '"dark"'})
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "named.npz").read_bytes()[:400])
    for head, message in (
        ("packed.npz", "compressed or encrypted; write it by numpy.savez"),
        ("cut.npz", "cannot be read as embeddings"),
        ("named.safetensors", "must be a JSON list of names"),
        ("absent.npy", "cannot be read as embeddings .*No such file"),
        ("absent.pt", "ends in '.pt'; embeddings are .npy, .npz or .safetensors"),
        (f"bare.npy:{tmp_path / 'three.txt'}", "three.txt has 3 names, .* has 2 rows"),
        (f"named.npz:{tiny_vit.classes}", "names its classes itself; leave .* out"),
    ):
        with pytest.raises(UsageError, match=message):
            opened(tiny_vit, f"{tmp_path}/{head}")
