"""Linear probing: it learns what can be learned, always the same, and says what it left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch

from rate.artifacts.checkpoint import load_checkpoint
from rate.artifacts.records import CheckpointDocument
from rate.data.images.prepare import prepare
from rate.data.manifest import read_manifest
from rate.errors import ConfigError, DataError, UsageError
from rate.export.options import ExportOptions
from rate.export.sources.open_source import open_source, open_tower
from rate.finetune.features import FORWARD_BATCH, extract
from rate.finetune.lp import LpSettings, finetune_lp, train_head
from rate.finetune.recipe import Watch
from rate.records import schema_of

SOURCE = "timm:test_vit"
ImageSet = Callable[..., Path]


def settings(**values: object) -> LpSettings:
    return LpSettings(**({"split": None, "epochs": 30, "lr": 0.01, "batch": 4, "threads": 1} | values))


def train_and_test(manifest: Path, train: int) -> Path:
    """Name the first ``train`` rows `train`; the others stay `test`."""
    header, *rows = manifest.read_text().splitlines()
    rows = [row.replace(",test,", ",train,") if k < train else row for k, row in enumerate(rows)]
    manifest.write_text("\n".join([header, *rows]) + "\n")
    return manifest


def test_it_learns_dark_from_light_and_writes_a_checkpoint(image_set: ImageSet, tmp_path) -> None:
    manifest = train_and_test(image_set(count=14), 8)
    epochs: list[tuple[int, float, float]] = []
    steps: list[tuple[int, int]] = []
    told: list[str] = []
    watch = Watch(told.append, lambda done, total: steps.append((done, total)), lambda *e: epochs.append(e))
    found = finetune_lp(SOURCE, manifest, tmp_path / "lp", settings(split="train", val_split="test"), watch)
    assert (found.train_accuracy, found.val_accuracy) == (1.0, 1.0)
    assert (found.samples, found.failed, found.classes) == (8, (), ("dark", "light"))
    assert [number for number, _, _ in epochs] == list(range(1, 31))
    assert epochs[-1][1] < epochs[0][1]
    assert steps == [(k, 8) for k in range(1, 9)] + [(k, 6) for k in range(1, 7)]
    assert any("random weights" in text for text in told)
    document = json.loads((tmp_path / "lp/checkpoint.json").read_text())
    jsonschema.Draft202012Validator(schema_of(CheckpointDocument)).validate(document)
    assert (
        document["recipe"] | {"train_accuracy": 1.0, "val_accuracy": 1.0, "epochs": 30, "seed": 0} == document["recipe"]
    )
    assert document["base"] == {"source": SOURCE, "weights": open_tower(SOURCE).weights}


def test_the_checkpoint_opens_as_a_source_with_the_trained_head(image_set: ImageSet, tmp_path) -> None:
    manifest = image_set(count=6)
    finetune_lp(SOURCE, manifest, tmp_path / "lp", settings())
    model = open_source(str(tmp_path / "lp"), ExportOptions())
    samples = read_manifest(manifest).samples
    pixels = np.stack([prepare(sample, model.geometry).picture.pixels for sample in samples])
    predicted = [model.infos[0].classes[k] for k in model.logits(pixels)["lp"].argmax(axis=1)]
    assert predicted == [sample.label for sample in samples]
    assert model.weights == open_tower(SOURCE).weights  # the tower is frozen
    again = finetune_lp(str(tmp_path / "lp"), manifest, tmp_path / "lp2", settings())
    assert again.train_accuracy == 1.0


def trained(manifest: Path, out: Path, **values: object) -> torch.Tensor:
    finetune_lp(SOURCE, manifest, out, settings(epochs=3, **values))
    return load_checkpoint(out).read()[1].weight


def test_the_same_seed_gives_the_same_head_and_another_another(image_set: ImageSet, tmp_path) -> None:
    manifest = image_set(count=10)
    torch.manual_seed(1)
    one = trained(manifest, tmp_path / "a")
    torch.manual_seed(2)  # the process's own generator plays no part
    assert torch.equal(trained(manifest, tmp_path / "b"), one)
    assert not torch.equal(trained(manifest, tmp_path / "c", seed=1), one)


def test_rows_that_cannot_be_read_are_left_out_and_named(image_set: ImageSet, tmp_path) -> None:
    manifest = image_set(count=6)
    (manifest.parent / "2.png").write_bytes(b"no image")
    (manifest.parent / "5.png").unlink()
    told: list[str] = []
    found = finetune_lp(SOURCE, manifest, tmp_path / "lp", settings(), Watch(told.append))
    assert [row.id for row in found.failed] == ["s2", "s5"]
    assert found.samples == 4
    assert sum(text.startswith(("left out s2: ", "left out s5: ")) for text in told) == 2
    assert load_checkpoint(tmp_path / "lp").recipe["failed"] == 2
    for k in range(6):
        (manifest.parent / f"{k}.png").unlink(missing_ok=True)
    with pytest.raises(DataError, match="none of the 6 samples could be read; the first: "):
        finetune_lp(SOURCE, manifest, tmp_path / "none", settings())
    assert not (tmp_path / "none").exists()


def test_features_are_the_tower_s_row_by_row_across_batches(image_set: ImageSet) -> None:
    manifest = image_set(count=FORWARD_BATCH + 3, side=12)
    model = open_tower(SOURCE)
    samples = read_manifest(manifest).samples
    threads = torch.get_num_threads()
    found = extract(model, samples, threads=2)
    assert torch.get_num_threads() == threads
    assert found.labels == tuple(sample.label for sample in samples)
    for k in (0, FORWARD_BATCH - 1, FORWARD_BATCH, FORWARD_BATCH + 2):
        pixels = torch.from_numpy(prepare(samples[k], model.geometry).picture.pixels[None])
        with torch.inference_mode():
            torch.testing.assert_close(found.values[k], model.tower(pixels)[0], atol=1e-5, rtol=1e-5)


def test_the_head_is_that_of_logistic_regression() -> None:
    """Two overlapping classes on one feature, symmetric about 0.5; the slope solves the score equation."""
    features = torch.tensor([[-1.0], [0.0], [1.0], [2.0]])
    head = train_head(features, torch.tensor([0, 1, 0, 1]), 2, settings(epochs=1000, lr=0.02, batch=4), Watch())
    weight, bias = float(head.weight[1] - head.weight[0]), float(head.bias[1] - head.bias[0])
    assert -bias / weight == pytest.approx(0.5, abs=1e-3)
    probability = torch.sigmoid(weight * features[:, 0] + bias)
    assert float(((torch.tensor([0.0, 1.0, 0.0, 1.0]) - probability) * features[:, 0]).sum()) == pytest.approx(
        0, abs=1e-3
    )
    torch.testing.assert_close(head.weight.sum(), torch.tensor(0.0), atol=1e-3, rtol=0)  # it started at zero


def test_classes_of_a_file_set_the_order_and_may_have_no_rows(image_set: ImageSet, tmp_path) -> None:
    (tmp_path / "c.txt").write_text("light\ngrey\ndark\n")
    found = finetune_lp(SOURCE, image_set(), tmp_path / "lp", settings(classes=tmp_path / "c.txt"))
    assert found.classes == ("light", "grey", "dark")
    assert found.train_accuracy == 1.0


def test_labels_outside_the_classes_are_refused_before_any_training(image_set: ImageSet, tmp_path) -> None:
    manifest = image_set()
    (tmp_path / "c.txt").write_text("light\ngrey\n")
    with pytest.raises(DataError, match="has the label 'dark', which is not one of the 2 classes"):
        finetune_lp(SOURCE, manifest, tmp_path / "lp", settings(classes=tmp_path / "c.txt"))
    odd = train_and_test(image_set(count=8, folder="odd"), 4)
    odd.write_text(odd.read_text().replace("s7,7.png,light", "s7,7.png,pink"))
    with pytest.raises(DataError, match="has the label 'pink'"):
        finetune_lp(SOURCE, odd, tmp_path / "lp", settings(split="train", val_split="test"))
    lone = image_set(folder="lone")
    lone.write_text(lone.read_text().replace("light", "dark"))
    with pytest.raises(DataError, match="has the one label 'dark'"):
        finetune_lp(SOURCE, lone, tmp_path / "lp", settings())
    with pytest.raises(DataError, match="has no split 'train'"):
        finetune_lp(SOURCE, manifest, tmp_path / "lp", settings(split="train"))
    assert not (tmp_path / "lp").exists()


def test_an_existing_folder_is_refused_before_any_work(image_set: ImageSet, tmp_path) -> None:
    out = tmp_path / "lp"
    out.mkdir()
    (out / "checkpoint.json").write_text('{"schema": "rate.checkpoint/1"}')
    with pytest.raises(UsageError, match="add --force"):
        finetune_lp("timm:no_such_model", tmp_path / "no_manifest.csv", out, settings())
    finetune_lp(SOURCE, image_set(), out, settings(epochs=1, force=True))
    assert load_checkpoint(out).classes == ("dark", "light")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number from 1 on, got 0"),
        ({"batch": 0}, "batch must be a whole number from 1 on"),
        ({"seed": -1}, "seed must be a whole number from 0 on"),
        ({"threads": -1}, "threads must be a whole number from 0 on"),
        ({"lr": 0.0}, "lr must be a positive number"),
        ({"lr": float("nan")}, "lr must be a positive number"),
    ],
)
def test_settings_are_checked_at_the_door(values, message) -> None:
    with pytest.raises(ConfigError, match=message):
        LpSettings(**values)


def test_real_photographs_on_real_weights(shared_data, tmp_path) -> None:
    source = f"timm:tf_efficientnet_lite0:{shared_data / 'weights/tf_efficientnet_lite0.safetensors'}"
    data = shared_data / "caltech101-boxes/annotations.csv"
    header, *rows = data.read_text().splitlines()
    parts = [f",{label},{split}," for label in ("Faces", "dalmatian", "dolphin") for split in ("train", "test")]
    chosen = [row for part in parts for row in [row for row in rows if part in row][:8]]
    few = tmp_path / "few.csv"
    few.write_text("\n".join([header, *chosen]) + "\n")
    for row in chosen:
        name = row.partition(",")[0]
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data.parent / name, tmp_path / name)
    found = finetune_lp(source, few, tmp_path / "lp", LpSettings(val_split="test", epochs=60, threads=1))
    assert found.train_accuracy == 1.0
    assert found.val_accuracy is not None
    assert found.val_accuracy >= 0.9
