"""Contrastive fine-tuning: both towers learn, the checkpoint opens again, and its tower is shared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
import safetensors.torch
import torch

from rate.artifacts.artifact import load_artifact
from rate.artifacts.checkpoint import load_checkpoint
from rate.artifacts.records import CheckpointDocument
from rate.errors import ArtifactError, ConfigError, DataError, UsageError
from rate.export.export import export_artifact
from rate.export.options import ExportOptions
from rate.export.sources.open_source import open_source, open_tower
from rate.export.sources.prompts import Prompts
from rate.finetune.contrastive import Contrastive, FlcpSettings, finetune_flcp, open_encoder
from rate.finetune.full import FtSettings, finetune_ft
from rate.finetune.lp import LpSettings, finetune_lp
from rate.finetune.recipe import Watch
from rate.records import schema_of

CLASSES = ("blue", "green", "red")


def settings(**values: object) -> FlcpSettings:
    return FlcpSettings(**({"epochs": 1, "lr": 1e-3, "batch": 8, "threads": 1} | values))


@pytest.fixture(scope="module")
def trained_pair(encoder, colours, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `flcp`, trained to the end, and `lp`, a probe of its tower."""
    root = tmp_path_factory.mktemp("flcp")
    found = finetune_flcp(encoder, colours, root / "flcp", settings(epochs=15, val_split="val"))
    assert (found.train_accuracy, found.val_accuracy) == (1.0, 1.0)
    finetune_lp(str(root / "flcp"), colours, root / "lp", LpSettings(epochs=20, lr=0.01, threads=1))
    return root


def test_the_checkpoint_says_what_it_holds(trained_pair, encoder) -> None:
    document = json.loads((trained_pair / "flcp/checkpoint.json").read_text())
    jsonschema.Draft202012Validator(schema_of(CheckpointDocument)).validate(document)
    assert document["head"] == "zero-shot"
    assert document["prompts"] == [f"a photo of a {name}" for name in CLASSES]
    assert document["recipe"].items() >= {"name": "flcp", "temperature": 0.07, "epochs": 15}.items()
    tensors = safetensors.torch.load_file(trained_pair / "flcp/model.safetensors")
    whole = {name for name in tensors if name.startswith(("tower.", "text."))}
    assert {name.replace("tower.", "visual.").removeprefix("text.") for name in whole} == set(
        open_encoder(encoder).model.state_dict()
    )
    assert tensors.keys() - whole == {"head.weight", "head.scale", "head.bias"}
    assert float(tensors["head.scale"]) == pytest.approx(1 / 0.07, rel=1e-6)
    before = open_encoder(encoder).model.state_dict()
    assert not torch.equal(tensors["text.token_embedding.weight"], before["token_embedding.weight"])


def test_it_opens_again_with_its_own_head_and_heads_for_other_classes(trained_pair, tmp_path) -> None:
    (tmp_path / "other.txt").write_text("red\nblue\n")
    options = ExportOptions(heads=(f"two=zero-shot:{tmp_path / 'other.txt'}",))
    model = open_source(str(trained_pair / "flcp"), options)
    assert [(info.name, info.kind, info.classes) for info in model.infos] == [
        ("flcp", "zero-shot", CLASSES),
        ("two", "zero-shot", ("red", "blue")),
    ]
    logits = model.logits(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).numpy())
    torch.testing.assert_close(  # the same prompts, the same text tower
        torch.from_numpy(logits["two"]), torch.from_numpy(logits["flcp"][:, [2, 0]]), atol=1e-4, rtol=1e-4
    )


def test_a_probe_of_it_shares_its_tower_and_both_heads_are_exported_together(trained_pair, tmp_path) -> None:
    flcp, lp = trained_pair / "flcp", trained_pair / "lp"
    assert open_tower(str(lp)).weights == open_tower(str(flcp)).weights
    export_artifact(str(flcp), tmp_path / "one", ExportOptions(heads=(f"lp=linear:{lp}",)))
    artifact = load_artifact(tmp_path / "one")
    assert [(head.name, head.kind) for head in artifact.heads] == [("flcp", "zero-shot"), ("lp", "linear")]
    other = open_source(str(lp), ExportOptions(heads=(f"again=zero-shot:{flcp}",)))
    assert [(info.name, info.kind) for info in other.infos] == [("lp", "linear"), ("again", "zero-shot")]
    assert artifact.weights == other.weights


def test_a_head_of_the_other_kind_or_another_tower_is_refused(trained_pair, encoder, tmp_path) -> None:
    flcp, lp = trained_pair / "flcp", trained_pair / "lp"
    with pytest.raises(UsageError, match="holds a zero-shot head, finished; write --head x=zero-shot:"):
        open_source(str(lp), ExportOptions(heads=(f"x=linear:{flcp}",)))
    with pytest.raises(UsageError, match="holds a linear head, finished; write --head x=linear:"):
        open_source(str(flcp), ExportOptions(heads=(f"x=zero-shot:{lp}",)))
    with pytest.raises(UsageError, match="stands on another tower"):
        open_source(encoder, ExportOptions(heads=(f"x=zero-shot:{flcp}",)))


def test_it_is_fine_tuned_again_by_every_recipe(trained_pair, colours, tmp_path) -> None:
    flcp = str(trained_pair / "flcp")
    more = finetune_flcp(flcp, colours, tmp_path / "more", settings(lr=1e-5))
    assert more.train_accuracy == 1.0
    finetune_ft(flcp, colours, tmp_path / "ft", FtSettings(epochs=1, threads=1))
    assert load_checkpoint(tmp_path / "ft").head == "linear"
    with pytest.raises(UsageError, match="has no text tower that can be trained; flcp needs open_clip:"):
        finetune_flcp(str(tmp_path / "ft"), colours, tmp_path / "no", settings())
    with pytest.raises(UsageError, match="timm:test_vit has no text tower that can be trained"):
        finetune_flcp("timm:test_vit", colours, tmp_path / "no", settings())


def bytes_of(path: Path) -> bytes:
    return (path / "model.safetensors").read_bytes()


def test_interrupted_and_resumed_is_uninterrupted_and_seeds_decide(encoder, colours, tmp_path) -> None:
    (tmp_path / "t.txt").write_text("a photo of a {}\na drawing of a {}\n")
    chosen = {"epochs": 2, "templates": tmp_path / "t.txt"}
    finetune_flcp(encoder, colours, tmp_path / "whole", settings(**chosen))

    def stop(epoch: int, done: int, total: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune_flcp(encoder, colours, tmp_path / "parts", settings(**chosen), Watch(rows=stop))
    torch.manual_seed(7)
    finetune_flcp(encoder, colours, tmp_path / "parts", settings(**chosen))
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")
    finetune_flcp(encoder, colours, tmp_path / "other", settings(**chosen, seed=1))
    assert bytes_of(tmp_path / "other") != bytes_of(tmp_path / "whole")
    assert len(load_checkpoint(tmp_path / "whole").prompts) == 6


def test_rows_of_a_class_are_no_negatives_of_each_other(encoder) -> None:
    """By hand: at embeddings that match their class and no other, the loss is the entropy of the even targets."""
    learner = Contrastive(open_encoder(encoder), Prompts(CLASSES, CLASSES, ("{}",)), temperature=0.01)
    targets = torch.tensor([0, 2, 0, 0])
    images, texts = torch.eye(4)[[0, 1, 0, 0]], torch.eye(4)[:2]
    loss, right = learner.loss((images, texts), targets)
    expected = torch.tensor([3.0, 1.0, 3.0, 3.0]).log().mean()
    assert float(loss) == pytest.approx(float(expected), abs=1e-4)
    assert int(right) == 4
    _, right = learner.loss((images, texts.flip(0)), targets)
    assert int(right) == 0


def test_names_of_a_file_stand_in_the_prompts(encoder, colours, tmp_path) -> None:
    (tmp_path / "c.txt").write_text("red\tscarlet\ngreen\nblue\tdeep blue\n")
    (tmp_path / "t.txt").write_text("one {}\n")
    chosen = settings(classes=tmp_path / "c.txt", templates=tmp_path / "t.txt", temperature=0.5)
    found = finetune_flcp(encoder, colours, tmp_path / "flcp", chosen)
    assert found.classes == ("red", "green", "blue")
    checkpoint = load_checkpoint(tmp_path / "flcp")
    assert checkpoint.prompts == ("one scarlet", "one green", "one deep blue")
    assert float(checkpoint.read()[1].scale) == pytest.approx(2.0)
    (tmp_path / "c.txt").write_text("red\ngreen\n")
    with pytest.raises(DataError, match="has the label 'blue', which is not one of the 2 classes"):
        finetune_flcp(encoder, colours, tmp_path / "no", chosen)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch": 1}, "batch must be at least 2 for a contrastive loss"),
        ({"temperature": 0.0}, "temperature must be a positive number, got 0.0"),
        ({"epochs": 0}, "epochs must be a whole number from 1 on"),
    ],
)
def test_settings_are_checked_at_the_door(values, message) -> None:
    with pytest.raises(ConfigError, match=message):
        FlcpSettings(**values)


def test_a_checkpoint_whose_kind_and_weights_disagree_is_refused(trained_pair, tmp_path) -> None:
    shutil.copytree(trained_pair / "flcp", tmp_path / "x")
    document = json.loads((tmp_path / "x/checkpoint.json").read_text())
    for head, message in (("linear", "must hold tower.* and head.weight"), ("x", "'x'"), (None, "got None")):
        (tmp_path / "x/checkpoint.json").write_text(json.dumps(document | {"head": head}))
        with pytest.raises(ArtifactError, match=message.replace("*", r"\*")):
            load_checkpoint(tmp_path / "x").read()
