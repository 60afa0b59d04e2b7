"""A checkpoint: a folder with a fine-tuned tower and its head, self-contained, and the facts about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from rate.data.geometry import Geometry
from rate.errors import ArtifactError, ConfigError, UsageError, need
from rate.export.folders import digest_files, field, read_document, replacing, strings, verify, write_document
from rate.export.weights import State, load_into, read_state
from rate.types import Json

CHECKPOINT = "checkpoint.json"
CHECKPOINT_SCHEMA_ID = "rate.checkpoint/1"
WEIGHTS = "model.safetensors"


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

    def read(self) -> tuple[State, nn.Linear]:
        """The tower's weights, and the head as a module in eval mode.

        Raises:
            ArtifactError: the weights are not those of a tower and a linear head for these classes.
        """
        tensors = read_state(self.path / WEIGHTS)
        tower = {name.removeprefix("tower."): value for name, value in tensors.items() if name.startswith("tower.")}
        head = {name.removeprefix("head."): value for name, value in tensors.items() if name.startswith("head.")}
        if not tower or "weight" not in head or len(tower) + len(head) < len(tensors):
            raise ArtifactError(f"{self.path / WEIGHTS} must hold tower.* and head.weight; make the checkpoint again")
        linear = nn.Linear(head["weight"].shape[-1], len(self.classes), bias="bias" in head)
        try:
            load_into(linear, head, f"the head's weights in {self.path / WEIGHTS}")
        except UsageError as error:
            raise ArtifactError(f"{error}; it has {len(self.classes)} classes") from error
        return tower, linear.eval()

    def to_json(self, files: Mapping[str, str]) -> Json:
        """The content of checkpoint.json; ``files``: name -> sha256."""
        return {
            "schema": CHECKPOINT_SCHEMA_ID,
            "family": self.family,
            "model": self.model,
            "classes": list(self.classes),
            "prompts": list(self.prompts),
            "input": self.geometry.to_json(),
            "recipe": self.recipe,
            "base": self.base,
            "files": dict(files),
        }


def save_checkpoint(checkpoint: Checkpoint, tower: Mapping[str, Tensor], head: nn.Linear, force: bool) -> None:
    """Write the folder ``checkpoint.path``, whole or not at all.

    Raises:
        UsageError: it exists and may not be replaced.
    """
    torch_io = need("safetensors.torch", "export")
    named = {f"tower.{name}": value for name, value in tower.items()}
    named |= {f"head.{name}": value for name, value in head.state_dict().items()}
    with replacing(checkpoint.path, CHECKPOINT, force) as draft:
        # a copy each: safetensors refuses tensors that share memory
        torch_io.save_file(
            {name: value.detach().contiguous().clone() for name, value in named.items()}, draft / WEIGHTS
        )
        write_document(draft / CHECKPOINT, checkpoint.to_json(digest_files(draft, [WEIGHTS])))


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
    return Checkpoint(
        path=path,
        family=field(document, "family", str, where),
        model=field(document, "model", dict, where),
        classes=strings(document, "classes", where),
        prompts=strings(document, "prompts", where),
        geometry=geometry,
        recipe=recipe,
        base=base,
    )
