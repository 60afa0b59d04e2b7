"""Checkpoints on disk: what is loaded is what was saved, and anything else is named."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import safetensors.torch
import torch
from msgspec import structs

from rate.artifacts.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rate.artifacts.folders import digest_file
from rate.artifacts.records import Base, CheckpointDocument
from rate.artifacts.weights import state_digest
from rate.data.images.geometry import Geometry
from rate.errors import ArtifactError, UsageError
from rate.export.options import ExportOptions
from rate.export.sources.open_source import open_source, open_tower
from rate.records import schema_of

GEOMETRY = Geometry(24, 27, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def checkpoint(path: Path) -> Checkpoint:
    recipe = {"name": "lp", "seed": 0, "train_accuracy": 0.5, "val_accuracy": None, "lr": 1e-3}
    base = Base("timm:test_vit", "0" * 64)
    return Checkpoint(
        path=path,
        family="timm",
        model={"name": "test_vit"},
        classes=("x", "y"),
        prompts=(),
        geometry=GEOMETRY,
        recipe=recipe,
        base=base,
    )


def tower() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    shared = torch.randn(3, 4)
    return {"a.weight": shared, "tied": shared, "steps": torch.tensor(3), "half": torch.randn(2).to(torch.bfloat16)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    head = torch.nn.Linear(4, 2)
    save_checkpoint(checkpoint(tmp_path / "lp"), tower(), head, force=False)
    return tmp_path / "lp"


def test_tower_head_and_facts_come_back(tmp_path) -> None:
    head = torch.nn.Linear(4, 2)
    save_checkpoint(checkpoint(tmp_path / "lp"), tower(), head, force=False)
    loaded = load_checkpoint(tmp_path / "lp")
    assert structs.replace(loaded, files={}) == checkpoint(tmp_path / "lp")
    state, found = loaded.read()
    assert state.keys() == tower().keys()
    assert all(torch.equal(state[name], value) and state[name].dtype == value.dtype for name, value in tower().items())
    assert state_digest(state) == state_digest(tower())
    assert torch.equal(found.weight, head.weight)
    assert torch.equal(found.bias, head.bias)
    assert not found.training


def test_the_document_obeys_its_schema(saved) -> None:
    document = json.loads((saved / "checkpoint.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema_of(CheckpointDocument))
    jsonschema.Draft202012Validator(schema_of(CheckpointDocument)).validate(document)
    assert document["files"] == {"model.safetensors": digest_file(saved / "model.safetensors")}


def test_a_changed_or_missing_file_is_named(saved) -> None:
    path = saved / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model.safetensors has changed"):
        load_checkpoint(saved)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"model.safetensors is listed and missing"):
        load_checkpoint(saved)


def rewrite(folder: Path, tensors: dict[str, torch.Tensor] | None = None, **values: object) -> None:
    if tensors is not None:
        safetensors.torch.save_file(tensors, folder / "model.safetensors")
    document = json.loads((folder / "checkpoint.json").read_text())
    document["files"]["model.safetensors"] = digest_file(folder / "model.safetensors")
    (folder / "checkpoint.json").write_text(json.dumps(document | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schema": "rate.checkpoint/0"}, "has the schema 'rate.checkpoint/0'"),
        ({"files": {"other": "0" * 64}}, "does not list model.safetensors"),
        ({"recipe": {}}, "'recipe' must have a 'name'"),
        ({"base": {"source": "x"}}, "`weights` - at `\\$.base`"),
        ({"input": {}}, r"- at `\$.input`"),
        ({"model": None}, r"at `\$.model`, got None"),
    ],
)
def test_a_malformed_document_is_refused_by_the_field_at_fault(values, message, saved) -> None:
    rewrite(saved, **values)
    with pytest.raises(ArtifactError, match=message):
        load_checkpoint(saved)


def test_weights_that_are_not_a_tower_and_a_head_are_refused(saved) -> None:
    some = torch.zeros(2, 4)
    for tensors in ({"tower.a": some}, {"head.weight": some}, {"tower.a": some, "head.weight": some, "text.b": some}):
        rewrite(saved, {name: value.clone() for name, value in tensors.items()})
        with pytest.raises(ArtifactError, match=r"must hold tower.* and head.weight"):
            load_checkpoint(saved).read()
    rewrite(saved, {"tower.a": some.clone(), "head.weight": torch.zeros(5, 4), "head.bias": torch.zeros(5)})
    with pytest.raises(ArtifactError, match=r"head.weight|weight \(5, 4\) instead of \(2, 4\)"):
        load_checkpoint(saved).read()


def test_a_tower_of_another_architecture_or_family_is_refused(saved) -> None:
    with pytest.raises(UsageError, match="the checkpoint's tower weights do not fit the model: missing: cls_token"):
        open_tower(str(saved))
    rewrite(saved, model={"name": "no_such_model"})
    with pytest.raises(UsageError, match="timm has no model 'no_such_model'"):
        open_tower(str(saved))
    rewrite(saved, family="os")
    with pytest.raises(UsageError, match="of the family 'os' cannot be opened; known are timm"):
        open_tower(str(saved))
    rewrite(saved, family="wise")
    with pytest.raises(UsageError, match="no checkpoint is of the family 'wise'"):
        open_tower(str(saved))


def test_a_checkpoint_knows_its_classes(saved, tmp_path) -> None:
    with pytest.raises(UsageError, match="--classes"):
        open_source(str(saved), ExportOptions(classes=tmp_path / "classes.txt"))


def test_an_existing_checkpoint_is_replaced_by_force_only(saved) -> None:
    head = torch.nn.Linear(4, 2)
    with pytest.raises(UsageError, match="exists already; add --force"):
        save_checkpoint(checkpoint(saved), tower(), head, force=False)
    save_checkpoint(checkpoint(saved), tower(), head, force=True)
    assert torch.equal(load_checkpoint(saved).read()[1].weight, head.weight)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["lp"]
