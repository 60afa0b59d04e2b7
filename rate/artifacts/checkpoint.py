"""A checkpoint: a self-contained folder with a fine-tuned tower, its head, and the facts about them.

A zero-shot head is the cosine of an image's embedding with the mean prompt of each class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import torch
from msgspec import field, structs
from torch import Tensor, nn

from rate.artifacts.folders import digest_files, read_document, replacing, verify
from rate.artifacts.records import CheckpointDocument, Files
from rate.artifacts.weights import State, load_into, read_state, under
from rate.artifacts.weights import state_digest as state_digest
from rate.errors import ArtifactError, UsageError, need
from rate.records import record, write

_TEXTS = 64
"""The number of prompts of one forward of a text tower."""


class ZeroShot(nn.Module):
    """Cosine of image and class embeddings, scaled: logits [b,c] from features [b,d]."""

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, scale: float, bias: float) -> None:
        """``weight`` [c,d], rows of unit length; ``scale`` multiplies the cosine, ``bias`` is added (SigLIP)."""
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("bias", torch.tensor(bias))

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits [b,c]."""
        unit = nn.functional.normalize(features, dim=-1)
        logits: Tensor = self.scale * (unit @ self.weight.T) + self.bias
        return logits


def class_embeddings(encode: Callable[[list[str]], Tensor], names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Compute unit vectors [c,d]: every prompt of a class is encoded and normalised, and their mean normalised again.

    Args:
        encode: texts -> embeddings [n,d] of any length; texts are independent.
        names: the names of the classes in a prompt.
        templates: each with one `{}`.
    """
    prompts = [template.format(name) for name in names for template in templates]
    with torch.no_grad():  # inference mode would make weights that cannot be traced
        parts = [encode(prompts[k : k + _TEXTS]) for k in range(0, len(prompts), _TEXTS)]
        unit = nn.functional.normalize(torch.cat(parts), dim=-1)
        means = unit.reshape(len(names), len(templates), -1).mean(dim=1)
        return nn.functional.normalize(means, dim=-1)


CHECKPOINT = "checkpoint.json"
WEIGHTS = "model.safetensors"
LINEAR: Final = "linear"
ZERO_SHOT: Final = "zero-shot"
_EXPECTED = {
    LINEAR: "tower.* and head.weight",
    ZERO_SHOT: "tower.*, head.weight, head.scale, head.bias and text.*",
}


class Checkpoint(CheckpointDocument, frozen=True, kw_only=True):
    """A checkpoint with its path."""

    path: Path
    head: Literal["linear", "zero-shot"] = LINEAR
    files: Files = field(default_factory=dict)  # empty until it is saved

    def read(self) -> tuple[State, nn.Linear | ZeroShot]:
        """Read the tower's weights, and the head as a module in eval mode.

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
        """Read the saved weights of the model beside its image tower; they are empty for a linear head.

        Raises:
            UsageError: the file cannot be read.
        """
        return under(read_state(self.path / WEIGHTS), "text.")

    def _empty_head(self, dim: int, bias: bool) -> nn.Linear | ZeroShot:
        if self.head == ZERO_SHOT:
            return ZeroShot(torch.zeros(len(self.classes), dim), 1.0, 0.0)
        return nn.Linear(dim, len(self.classes), bias=bias)


def save_checkpoint(
    checkpoint: Checkpoint,
    tower: Mapping[str, Tensor],
    head: nn.Module,
    force: bool,
    text: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the folder ``checkpoint.path`` all or nothing.

    Args:
        checkpoint: the facts.
        tower: the weights of the image tower.
        head: a head of the kind in ``checkpoint``.
        force: whether to replace an existing checkpoint.
        text: the weights of the rest of an image-text model, for a zero-shot head.

    Raises:
        UsageError: the folder exists and may not be replaced.
    """
    torch_io = need("safetensors.torch", "export")
    named = {f"tower.{name}": value for name, value in tower.items()}
    named |= {f"head.{name}": value for name, value in head.state_dict().items()}
    named |= {f"text.{name}": value for name, value in (text or {}).items()}
    with replacing(checkpoint.path, CHECKPOINT, force) as draft:
        # copies, since safetensors refuses tensors that share memory
        torch_io.save_file(
            {name: value.detach().contiguous().clone() for name, value in named.items()}, draft / WEIGHTS
        )
        whole = structs.replace(checkpoint, files=digest_files(draft, [WEIGHTS]))
        write(draft / CHECKPOINT, record(CheckpointDocument, whole))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint folder and compare its weights with their recorded sha256.

    Raises:
        ArtifactError: ``path`` is no checkpoint, is malformed, or a file of it is missing or has changed.
    """
    document = read_document(path, CHECKPOINT, CheckpointDocument)
    if WEIGHTS not in document.files:
        raise ArtifactError(f"{path / CHECKPOINT} does not list {WEIGHTS} under 'files'; it is malformed")
    verify(path, document.files)
    return Checkpoint(path=path, **structs.asdict(document))
