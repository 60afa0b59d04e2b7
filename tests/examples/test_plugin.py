"""The package of examples/plugin is built and installed, and its models and its layout are those of `rate`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from plugin_files import forget
from safetensors.torch import save_file

from rate.artifacts.artifact import load_artifact
from rate.cli.main import run
from rate.export.options import ExportOptions
from rate.export.sources.open_source import open_source
from rate.finetune.lp import LpSettings, finetune_lp
from rate.runs.summary.summarise import load_summary

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed it, beside the packages of this environment."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(EXAMPLE)], check=True, capture_output=True)
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(site)
    forget()
    yield
    forget()
    for name in [name for name in sys.modules if name.startswith("rate_example")]:
        del sys.modules[name]


def write_pairs(folder: Path) -> None:
    """Dark and light objects in the left half of a picture."""
    folder.mkdir()
    for k in range(12):
        label, level = (("dark", 40), ("light", 210))[k % 2]
        image, mask = np.full((64, 64, 3), 128, np.uint8), np.zeros((64, 64), np.uint8)
        image[8:40, 4:28], mask[8:40, 4:28] = level, 255
        Image.fromarray(image).save(folder / f"{label}-{k}.jpg")
        Image.fromarray(mask).save(folder / f"{label}-{k}.png")


def write_network(path: Path) -> None:
    """Weights that tell light from dark by the mean of the picture."""
    kernels = torch.zeros(16, 3, 5, 5)
    kernels[0], kernels[1] = 1 / 75, -1 / 75
    head = torch.zeros(2, 16)
    head[0, 1], head[1, 0] = 9.0, 9.0
    tensors = {"tower.0.weight": kernels, "tower.0.bias": torch.zeros(16)}
    save_file(tensors | {"head.weight": head, "head.bias": torch.zeros(2)}, path)


@pytest.mark.usefixtures("installed")
def test_a_set_is_indexed_and_a_model_exported_and_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "set")
    write_network(tmp_path / "weights.safetensors")
    (tmp_path / "classes.txt").write_text("dark\nlight\n")
    assert run(["data", "index", "pairs", "set", "--out", "pairs.csv"]) == 0
    assert "class    dark: 6\nclass    light: 6" in capsys.readouterr().out
    assert run(["export", "network:weights.safetensors", "--classes", "classes.txt", "--out", "artifact"]) == 0
    artifact = load_artifact(tmp_path / "artifact")
    assert (artifact.family, artifact.versions["rate-example"]) == ("network", "1.0")
    assert run(["eval", "artifact", "pairs.csv", "--out", "run", "--fills", "4"]) == 0
    head = load_summary(tmp_path / "run").heads["native"]
    assert (head.accuracy.value, head.pt.ratio.value) == (1.0, 1.0)
    capsys.readouterr()
    assert run(["data", "index", "--help"]) == 0
    assert "Photographs CLASS-NUMBER.jpg" in capsys.readouterr().out
    assert run(["doctor"]) == 0
    assert "network of rate-example 1.0 (rate.sources)" in capsys.readouterr().out


@pytest.mark.usefixtures("installed")
def test_its_models_are_fine_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "set")
    write_network(tmp_path / "weights.safetensors")
    assert run(["data", "index", "pairs", "set", "--out", "pairs.csv"]) == 0
    settings = LpSettings(split=None, epochs=2, threads=1)
    finetune_lp("network:weights.safetensors", Path("pairs.csv"), Path("lp"), settings)
    tuned = open_source("lp", ExportOptions())
    assert (tuned.family, [head.name for head in tuned.infos]) == ("network", ["lp"])


def test_without_the_package_its_names_are_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forget()
    assert run(["export", "network:weights.safetensors", "--out", str(tmp_path / "artifact")]) == 2
    assert "neither a known kind of model" in capsys.readouterr().err
