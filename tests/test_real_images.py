"""The main job on real photographs with real weights: linear probe, export, evaluation, and an independent check."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest

from rate.cli.main import run
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def probe(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Checkpoint and artifact of a linear probe on EfficientNet-Lite0."""
    root = tmp_path_factory.mktemp("real")
    weights = shared_data / "weights" / "tf_efficientnet_lite0.safetensors"
    data = shared_data / "caltech101-boxes" / "annotations.csv"
    source = f"timm:tf_efficientnet_lite0:{weights}"
    assert run(["finetune", "lp", source, str(data), "--out", str(root / "lp"), "--epochs", "60"]) == 0
    assert run(["export", str(root / "lp"), "--out", str(root / "artifact")]) == 0
    return root / "lp", root / "artifact"


def rows_of(folder: Path) -> dict[str, dict]:
    return {row["id"]: row for row in read_rows(folder, read_run(folder)).to_pylist()}


def few(shared_data: Path, folder: Path, count: int, shuffled: bool = False) -> Path:
    """A manifest with some test images beside copies of them."""
    source = shared_data / "caltech101-boxes"
    with (source / "annotations.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"][:: 180 // count][:count]
    if shuffled:
        random.Random(0).shuffle(rows)
    for row in rows:
        (folder / row["image"]).parent.mkdir(parents=True, exist_ok=True)
        (folder / row["image"]).write_bytes((source / row["image"]).read_bytes())
    with (folder / "annotations.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "annotations.csv"


def test_batch_order_and_threads_change_no_verdict(probe, shared_data: Path, tmp_path: Path) -> None:
    data = few(shared_data, tmp_path / "data", 12)
    shuffled = few(shared_data, tmp_path / "shuffled", 12, shuffled=True)
    found = []
    for k, (manifest, batch, threads) in enumerate(
        [(data, "32", "2"), (data, "8", "2"), (data, "32", "1"), (shuffled, "32", "2")]
    ):
        out = tmp_path / f"run{k}"
        base = ["eval", str(probe[1]), str(manifest), "--out", str(out), "--masks", "128", "--backend", "onnxruntime"]
        assert run([*base, "--batch", batch, "--threads", threads]) == 0
        found.append(rows_of(out))
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for key, row in found[0].items():
            assert other[key]["valid"] == row["valid"]
            assert other[key]["prediction"] == row["prediction"]
            for name in ("rma_positive", "rma_minmax"):
                assert other[key][name] == pytest.approx(row[name], abs=1e-5)


def test_the_mass_is_that_of_an_independent_slow_computation(probe, shared_data: Path, tmp_path: Path) -> None:
    import json

    from benchmarks.slow_check import load_model, slow_rma

    data = few(shared_data, tmp_path / "data", 3)
    out = tmp_path / "run"
    arguments = ["eval", str(probe[1]), str(data), "--out", str(out), "--masks", "100", "--backend", "onnxruntime"]
    assert run(arguments) == 0
    document = json.loads((probe[0] / "checkpoint.json").read_text())
    model = load_model(probe[0], document)
    settings = read_run(out).measurement
    with data.open() as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        box = [float(line[name]) for name in ("x0", "y0", "x1", "y1")]
        label = document["classes"].index(line["label"])
        slow = slow_rma(model, document["input"], data.parent / line["image"], box, label, settings, line["image"])
        row = rows_of(out)[line["image"]]
        for name, value in slow.items():
            assert row[name] == pytest.approx(value, abs=1e-4)
            assert np.isfinite(value)
