"""A checkpoint: a folder with a fine-tuned tower and its head, self-contained, and the facts about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from rate.artifacts.folders import (
    check_document,
    digest_files,
    field,
    read_document,
    replacing,
    strings,
    verify,
)
from rate.artifacts.schemas import CHECKPOINT as CHECKPOINT_SCHEMA
from rate.artifacts.weights import State, load_into, read_state, under
from rate.artifacts.weights import state_digest as state_digest
from rate.artifacts.zero_shot import ZeroShot
from rate.data.images.geometry import Geometry
from rate.errors import ArtifactError, ConfigError, UsageError, need
from rate.files import write_json
from rate.types import Json

CHECKPOINT = "checkpoint.json"
CHECKPOINT_SCHEMA_ID = "rate.checkpoint/1"
WEIGHTS = "model.safetensors"
LINEAR, ZERO_SHOT = "linear", "zero-shot"
_EXPECTED = {
    LINEAR: "tower.* and head.weight",
    ZERO_SHOT: "tower.*, head.weight, head.scale, head.bias and text.*",
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of checkpoint.json."""

    path: Path
    family: str
    model: Json  # what the family needs to build the tower: {"name": ...}
    classes: tuple[str, ...]  # in the order of the logits
    prompts: tuple[str, ...]  # empty where the model reads no text
    geometry: Geometry
    recipe: Json  # {"name": ..., "seed": ..., "train_accuracy": ..., hyper-parameters}
    base: Json  # {"source": ..., "weights": digest of the tower it started from}
    head: str = LINEAR  # kind of its head; with a zero-shot head the weights hold the text tower, too

    def read(self) -> tuple[State, nn.Linear | ZeroShot]:
        """The tower's weights, and the head as a module in eval mode.

        Raises:
            ArtifactError: the weights are not those of a tower and a head of this kind for these classes.
        """
        tensors = read_state(self.path / WEIGHTS)
        tower, head, text = (under(tensors, prefix) for prefix in ("tower.", "head.", "text."))
        whole = bool(tower) and "weight" in head and bool(text) == (self.head == ZERO_SHOT)
        whole = whole and head["weight"].ndim == 2
        if not whole or len(tower) + len(head) + len(text) < len(tensors):
            raise ArtifactError(f"{self.path / WEIGHTS} must hold {_EXPECTED[self.head]}; make the checkpoint again")
        module = self._empty_head(head["weight"].shape[-1], "bias" in head)
        try:
            load_into(module, head, f"the head's weights in {self.path / WEIGHTS}")
        except UsageError as error:
            raise ArtifactError(f"{error}; it has {len(self.classes)} classes") from error
        return tower, module.eval()

    def read_text(self) -> State:
        """The weights of the model beside its image tower, as they were saved; empty for a linear head.

        Raises:
            UsageError: the file cannot be read.
        """
        return under(read_state(self.path / WEIGHTS), "text.")

    def _empty_head(self, dim: int, bias: bool) -> nn.Linear | ZeroShot:
        if self.head == ZERO_SHOT:
            return ZeroShot(torch.zeros(len(self.classes), dim), 1.0, 0.0)
        return nn.Linear(dim, len(self.classes), bias=bias)

    def to_json(self, files: Mapping[str, str]) -> Json:
        """The content of checkpoint.json; ``files``: name -> sha256."""
        return {
            "schema": CHECKPOINT_SCHEMA_ID,
            "family": self.family,
            "model": self.model,
            "classes": list(self.classes),
            "prompts": list(self.prompts),
            "head": {"kind": self.head},
            "input": self.geometry.to_json(),
            "recipe": self.recipe,
            "base": self.base,
            "files": dict(files),
        }


def save_checkpoint(
    checkpoint: Checkpoint,
    tower: Mapping[str, Tensor],
    head: nn.Module,
    force: bool,
    text: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the folder ``checkpoint.path``, whole or not at all.

    Args:
        checkpoint: the facts.
        tower: weights of the image tower.
        head: of the kind that ``checkpoint`` says.
        force: replace a checkpoint that exists.
        text: weights of the rest of an image-text model; goes with a zero-shot head.

    Raises:
        UsageError: it exists and may not be replaced.
    """
    torch_io = need("safetensors.torch", "export")
    named = {f"tower.{name}": value for name, value in tower.items()}
    named |= {f"head.{name}": value for name, value in head.state_dict().items()}
    named |= {f"text.{name}": value for name, value in (text or {}).items()}
    with replacing(checkpoint.path, CHECKPOINT, force) as draft:
        # a copy each: safetensors refuses tensors that share memory
        torch_io.save_file(
            {name: value.detach().contiguous().clone() for name, value in named.items()}, draft / WEIGHTS
        )
        write_json(draft / CHECKPOINT, checkpoint.to_json(digest_files(draft, [WEIGHTS])))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint folder and compare its weights with their recorded sha256.

    Raises:
        ArtifactError: ``path`` is no checkpoint, is malformed, or a file of it is missing or has changed.
    """
    document = read_document(path, CHECKPOINT, CHECKPOINT_SCHEMA_ID)
    where = path / CHECKPOINT
    files = field(document, "files", dict, where)
    if WEIGHTS not in files:
        raise ArtifactError(f"{where} does not list {WEIGHTS} under 'files'; it is malformed")
    verify(path, files)
    recipe, base = field(document, "recipe", dict, where), field(document, "base", dict, where)
    field(recipe, "name", str, where)
    for key in ("source", "weights"):
        field(base, key, str, where)
    try:
        geometry = Geometry.from_json(field(document, "input", dict, where))
    except ConfigError as error:
        raise ArtifactError(f"{where}: 'input' is malformed: {error}") from error
    checkpoint = Checkpoint(
        path=path,
        family=field(document, "family", str, where),
        model=field(document, "model", dict, where),
        classes=strings(document, "classes", where),
        prompts=strings(document, "prompts", where),
        geometry=geometry,
        recipe=recipe,
        base=base,
        head=_head_kind(document, where),
    )
    check_document(document, CHECKPOINT_SCHEMA, where)  # last: the messages above say more
    return checkpoint


def _head_kind(document: Json, where: Path) -> str:
    """Documents older than zero-shot heads do not name theirs: it is linear."""
    kind = field(field(document, "head", dict, where), "kind", str, where) if "head" in document else LINEAR
    if kind not in _EXPECTED:
        raise ArtifactError(f"{where}: the head's kind must be {' or '.join(_EXPECTED)}, got {kind!r}; it is malformed")
    return str(kind)
