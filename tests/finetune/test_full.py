"""Full fine-tuning: it learns, it changes the tower, it is deterministic, and it goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import torch

from rate.artifacts.checkpoint import load_checkpoint
from rate.artifacts.records import CheckpointDocument
from rate.artifacts.weights import State
from rate.errors import ConfigError, UsageError
from rate.export.options import ExportOptions
from rate.export.sources.open_source import open_source, open_tower
from rate.finetune.full import FtSettings, finetune_ft
from rate.finetune.lp import LpSettings, finetune_lp
from rate.finetune.recipe import Watch
from rate.records import schema_of

CONVOLUTIONS = "timm:test_efficientnet"
ImageSet = Callable[..., Path]


def settings(**values: object) -> FtSettings:
    return FtSettings(**({"epochs": 2, "lr": 1e-3, "batch": 8, "threads": 1} | values))


def weights(path: Path) -> State:
    checkpoint = load_checkpoint(path)
    tower, head = checkpoint.read()
    return tower | {f"head.{name}": value for name, value in head.state_dict().items()}


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_it_learns_changes_the_tower_and_writes_a_checkpoint(encoder, colours, tmp_path) -> None:
    epochs: list[int] = []
    validated: list[tuple[int, float]] = []
    rows: list[tuple[int, int, int]] = []
    watch = Watch(
        epoch=lambda number, loss, accuracy: epochs.append(number),
        validated=lambda *told: validated.append(told),
        rows=lambda *told: rows.append(told),
    )
    found = finetune_ft(encoder, colours, tmp_path / "ft", settings(epochs=12, val_split="val"), watch)
    assert (found.train_accuracy, found.val_accuracy, found.samples) == (1.0, 1.0, 24)
    assert epochs == [number for number, _ in validated] == list(range(1, 13))
    assert rows[:4] == [(1, 8, 24), (1, 16, 24), (1, 24, 24), (2, 8, 24)]
    assert [path.name for path in tmp_path.iterdir()] == ["ft"]
    document = json.loads((tmp_path / "ft/checkpoint.json").read_text())
    jsonschema.Draft202012Validator(schema_of(CheckpointDocument)).validate(document)
    assert document["head"] == "linear"
    assert document["recipe"].items() >= {"name": "ft", "lr": 1e-3, "augment": True, "train_accuracy": 1.0}.items()
    base = open_tower(encoder)
    assert document["base"] == {"source": encoder, "weights": base.weights}
    model = open_source(str(tmp_path / "ft"), ExportOptions())
    assert [(info.name, info.kind, info.classes) for info in model.infos] == [("ft", "linear", found.classes)]
    assert model.weights != base.weights


def test_batch_statistics_are_trained_and_the_result_is_in_eval_mode(image_set: ImageSet, tmp_path) -> None:
    before = open_tower(CONVOLUTIONS).tower.state_dict()
    finetune_ft(CONVOLUTIONS, image_set(count=9), tmp_path / "ft", settings(split=None, epochs=1, batch=4))
    tower, _ = load_checkpoint(tmp_path / "ft").read()
    statistics = [name for name in before if name.endswith("running_mean")]
    assert statistics
    assert not any(torch.equal(tower[name], before[name]) for name in statistics)
    assert not open_tower(str(tmp_path / "ft")).tower.training


def test_equal_seeds_give_equal_weights_and_nothing_else_plays_a_part(encoder, colours, tmp_path) -> None:
    torch.manual_seed(1)
    finetune_ft(encoder, colours, tmp_path / "a", settings())
    torch.manual_seed(2)
    finetune_ft(encoder, colours, tmp_path / "b", settings(val_split="val"))
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    for name, changed in (("c", {"seed": 1}), ("d", {"augment": False})):
        finetune_ft(encoder, colours, tmp_path / name, settings(**changed))
        assert not equal(weights(tmp_path / "a"), weights(tmp_path / name))


def interrupt_in(epoch: int) -> Watch:
    def rows(number: int, done: int, total: int) -> None:
        if number == epoch:
            raise KeyboardInterrupt

    return Watch(rows=rows)


def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(encoder, colours, tmp_path) -> None:
    finetune_ft(encoder, colours, tmp_path / "whole", settings(epochs=3))
    out, told = tmp_path / "parts", []
    for epoch in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            finetune_ft(encoder, colours, out, settings(epochs=3), interrupt_in(epoch))
        assert not out.exists()
        assert (tmp_path / ".parts.training/state.pt").is_file()
    finetune_ft(encoder, colours, out, settings(epochs=3), Watch(told.append))
    assert any("going on after epoch 2 of 3" in text for text in told)
    assert equal(weights(tmp_path / "whole"), weights(out))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]


def test_the_state_of_another_training_is_refused_by_what_differs(encoder, colours, tmp_path) -> None:
    out = tmp_path / "ft"
    with pytest.raises(KeyboardInterrupt):
        finetune_ft(encoder, colours, out, settings(), interrupt_in(2))
    with pytest.raises(UsageError, match="interrupted after epoch 1; it differs in batch, lr: repeat its command"):
        finetune_ft(encoder, colours, out, settings(lr=1e-2, batch=4))
    with pytest.raises(UsageError, match="it differs in data, rows"):
        finetune_ft(encoder, colours, out, settings(split=None))
    with pytest.raises(UsageError, match="it differs in weights"):
        finetune_ft(CONVOLUTIONS, colours, out, settings())
    finetune_ft(encoder, colours, tmp_path / "fresh", settings(lr=1e-2))
    finetune_ft(encoder, colours, out, settings(lr=1e-2, force=True))
    assert equal(weights(out), weights(tmp_path / "fresh"))
    assert not (tmp_path / ".ft.training").exists()


def test_a_broken_state_is_refused_and_force_drops_it(encoder, colours, tmp_path) -> None:
    (tmp_path / ".ft.training").mkdir()
    (tmp_path / ".ft.training/state.pt").write_bytes(b"nothing of torch's")
    with pytest.raises(UsageError, match=r"cannot be read .* add --force to start anew"):
        finetune_ft(encoder, colours, tmp_path / "ft", settings(epochs=1))
    finetune_ft(encoder, colours, tmp_path / "ft", settings(epochs=1, force=True))
    assert (tmp_path / "ft/checkpoint.json").is_file()


def test_a_loss_that_is_not_finite_stops_it_and_leaves_no_state(encoder, colours, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"the loss became (nan|inf) in epoch \d+.* smaller --lr than 1e\+30"):
        finetune_ft(encoder, colours, tmp_path / "ft", settings(lr=1e30, epochs=5))
    assert list(tmp_path.iterdir()) == []


def test_a_probe_s_head_for_the_same_classes_is_kept_and_any_other_starts_at_zero(encoder, colours, tmp_path) -> None:
    finetune_lp(encoder, colours, tmp_path / "lp", LpSettings(epochs=5, lr=0.01, threads=1))
    told: list[str] = []
    tiny = settings(epochs=1, lr=1e-9)
    finetune_ft(str(tmp_path / "lp"), colours, tmp_path / "kept", tiny, Watch(told.append))
    probe = load_checkpoint(tmp_path / "lp").read()[1]
    torch.testing.assert_close(load_checkpoint(tmp_path / "kept").read()[1].weight, probe.weight, atol=1e-6, rtol=0)
    assert any("is for the same classes and is trained further" in text for text in told)
    (tmp_path / "classes.txt").write_text("red\ngreen\nblue\ngrey\n")
    finetune_ft(
        str(tmp_path / "lp"), colours, tmp_path / "zero", settings(epochs=1, lr=1e-9, classes=tmp_path / "classes.txt")
    )
    head = load_checkpoint(tmp_path / "zero").read()[1]
    assert head.weight.shape[0] == 4
    assert float(head.weight.detach().abs().max()) < 1e-6


def test_rows_that_cannot_be_read_are_left_out_and_named(image_set: ImageSet, tmp_path) -> None:
    manifest = image_set(count=6)
    (manifest.parent / "2.png").write_bytes(b"no image")
    told: list[str] = []
    found = finetune_ft(CONVOLUTIONS, manifest, tmp_path / "ft", settings(split=None, epochs=1), Watch(told.append))
    assert ([row.id for row in found.failed], found.samples) == (["s2"], 5)
    assert sum(text.startswith("left out s2: ") for text in told) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number from 1 on, got 0"),
        ({"batch": 0}, "batch must be a whole number from 1 on"),
        ({"lr": float("inf")}, "lr must be a positive number, got inf; 1e-05 is usual"),
        ({"device": "tpu"}, "device must be one of cpu, cuda; got 'tpu'"),
    ],
)
def test_settings_are_checked_at_the_door(values, message) -> None:
    with pytest.raises(ConfigError, match=message):
        FtSettings(**values)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a CUDA device here")
def test_a_gpu_that_torch_does_not_see_is_refused() -> None:
    with pytest.raises(ConfigError, match="device cuda: torch sees no CUDA device here; use --device cpu"):
        FtSettings(device="cuda")


def test_an_existing_folder_is_refused_before_any_work(tmp_path) -> None:
    (tmp_path / "ft").mkdir()
    (tmp_path / "ft/checkpoint.json").write_text("{}")
    with pytest.raises(UsageError, match="add --force"):
        finetune_ft("timm:no_such_model", tmp_path / "no.csv", tmp_path / "ft", settings())
