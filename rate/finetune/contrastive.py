"""Fine-tuning as in CLIP's pre-training: the contrastive loss of images and prompts trains image and text tower."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from rate.artifacts.checkpoint import CHECKPOINT, ZERO_SHOT, Checkpoint, load_checkpoint
from rate.artifacts.folders import check_replaceable
from rate.artifacts.records import Base
from rate.artifacts.weights import state_digest
from rate.errors import UsageError
from rate.export.sources.families import open_clip, openai
from rate.export.sources.families import reference as reference_checkpoint
from rate.export.sources.families.open_clip import DualEncoder
from rate.export.sources.prompts import Prompts, read_prompts, read_templates
from rate.export.sources.source_string import FAMILIES, parse_source
from rate.finetune.loop import train_checkpoint
from rate.finetune.recipe import Finetuned, Watch, check_labels, labels_of, read_sets
from rate.finetune.settings import FlcpSettings as FlcpSettings
from rate.reading import USUAL, Reading

_IMAGE = "visual."
_LOADERS = {"open_clip": open_clip.load, "openai": openai.load, "reference": reference_checkpoint.load}


def finetune_flcp(
    source: str,
    data: Path,
    out: Path,
    settings: FlcpSettings,
    watch: Watch | None = None,
    reading: Reading = USUAL,
) -> Finetuned:
    """Train both towers of SOURCE on images and the prompts of their classes, and write a checkpoint folder.

    The loss is CLIP's, symmetric over the images and the texts of a batch. Rows of the same class are not negatives
    of each other: the target of a row is spread evenly over all rows of its class. The head of the checkpoint is the
    zero-shot head of the trained text tower. Determinism, resumption, errors and the other arguments are those of
    `finetune_ft`; captions are not used.

    Args:
        source: `open_clip:NAME[:WEIGHTS]`, `openai:FILE`, `reference:FILE[:RESIZE]` of a CLIP, or a checkpoint folder
            that this recipe wrote.
    """
    watch = watch or Watch()
    check_replaceable(out, CHECKPOINT, settings.force)
    encoder = open_encoder(source)
    base = Base(source, state_digest(encoder.model.visual.state_dict()))
    sets = read_sets(data, settings.split, settings.val_split, reading)
    prompts = _prompts(settings, lambda: labels_of(sets.train))
    check_labels(sets, prompts.classes)
    for text in (*encoder.notices, *sets.train.notices):
        watch.notice(text)
    draft = Checkpoint(
        path=out,
        family="open_clip",
        model=encoder.config,
        classes=prompts.classes,
        prompts=tuple(template.format(name) for name in prompts.names for template in prompts.templates),
        geometry=encoder.geometry,
        recipe={"name": "flcp", "optimizer": "adam", **settings.to_json()},
        base=base,
        head=ZERO_SHOT,
    )
    return train_checkpoint(draft, Contrastive(encoder, prompts, settings.temperature), sets, settings, watch)


def open_encoder(source: str) -> DualEncoder:
    """Open both towers of SOURCE.

    Raises:
        UsageError: the model has no text tower.
    """
    reference = parse_source(source)
    if reference is not None and reference.family in _LOADERS:
        return _LOADERS[reference.family](reference)
    if reference is None and (checkpoint := load_checkpoint(Path(source))).head == ZERO_SHOT:
        encoder = open_clip.build_encoder(checkpoint.model, checkpoint.read()[0], checkpoint.read_text())
        return replace(encoder, geometry=checkpoint.geometry)
    forms = ", ".join(FAMILIES[name].form for name in _LOADERS)
    raise UsageError(
        f"{source} has no text tower that can be trained; flcp needs {forms}, or a checkpoint of `rate finetune flcp`"
    )


class Contrastive:
    """An image-text model that learns to separate the prompts of its classes; see `loop.Learner`."""

    def __init__(self, encoder: DualEncoder, prompts: Prompts, temperature: float) -> None:
        self.module = encoder.model
        self.tower = encoder.model.visual
        self._encoder, self._prompts, self._temperature = encoder, prompts, temperature
        texts = [template.format(name) for name in prompts.names for template in prompts.templates]
        self._tokens = encoder.tokenizer(texts).unflatten(0, (len(prompts.names), len(prompts.templates)))  # [c,t,*]
        with torch.no_grad():  # the scale of zero-shot heads is not part of the loss and stays fixed
            encoder.model.logit_scale.fill_(math.log(1.0 / temperature))

    def head(self) -> nn.Module:
        """Make the zero-shot head of the current text tower."""
        joint = open_clip.joint(self._encoder)
        return joint.head(joint.embed(self._prompts.names, self._prompts.templates))

    def text(self) -> Mapping[str, Tensor]:
        """Return all weights except those of the image tower."""
        return {name: value for name, value in self.module.state_dict().items() if not name.startswith(_IMAGE)}

    def outputs(self, pixels: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """Compute image embeddings [b,d] and embeddings [u,d] of the batch's classes, sorted, one template each."""
        present = torch.unique(targets).cpu()
        template = torch.randint(self._tokens.shape[1], present.shape)
        tokens = self._tokens[present, template].to(pixels.device)
        return self.tower(pixels), self.module.encode_text(tokens)

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the symmetric cross entropy [b,b] with targets even over a class; a row is right if its prompt is
        nearest.
        """
        images, texts = (normalize(output, dim=-1) for output in outputs)
        _, place = torch.unique(targets, return_inverse=True)
        by_class = images @ texts.T / self._temperature  # [b,u]
        logits = by_class[:, place]  # [b,b]: column j is the text of row j
        same = (targets[:, None] == targets[None, :]).float()
        wanted = same / same.sum(dim=1, keepdim=True)
        loss = (cross_entropy(logits, wanted) + cross_entropy(logits.T, wanted)) / 2.0
        return loss, (by_class.argmax(dim=1) == place).sum()


def _prompts(settings: FlcpSettings, labels: Callable[[], tuple[str, ...]]) -> Prompts:
    if settings.classes is not None:
        return read_prompts(settings.classes, settings.templates)
    classes = labels()
    return Prompts(classes, classes, read_templates(settings.templates))
