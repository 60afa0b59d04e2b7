"""Checkpoints of ALBEF, and of BLIP in its authors' layout: `albef:FILE`.

FILE holds a vision transformer (`visual_encoder.*`), a BERT (`text_encoder.*`) and their projections; momentum copies
(`*_m.*`), queues and fusion layers are not used. Features are the class token: linear heads take it directly (the
paper's LP), zero-shot heads project it first. The text tower is the part of the BERT without image input: all layers
before the first with cross attention (ALBEF), or all layers without their cross attention (BLIP).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rate.artifacts.checkpoint import class_embeddings
from rate.artifacts.weights import State, count_blocks, load_into, read_state, state_digest, under
from rate.data.images.geometry import Geometry
from rate.errors import UsageError, need
from rate.export.sources.source_model import Joint, SourceModel
from rate.export.sources.source_string import Reference
from rate.types import Json

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
VOCABULARY = "vocab.txt"
_HUB = "google-bert/bert-base-uncased"
_HEAD_WIDTH = 64  # of both transformers, in all published sizes
_WORDS = {"ALBEF": 30, "BLIP": 35}  # largest number of tokens of a text, as in the authors' evaluation of retrieval
_NEEDED = ("vision_proj.weight", "vision_proj.bias", "text_proj.weight", "text_proj.bias", "temp")
_CROSS = ".crossattention."


@dataclass(frozen=True, eq=False)
class TextTower:
    """The text part of a checkpoint's BERT, with its projection."""

    bert: Any  # transformers.BertModel
    projection: nn.Linear
    tokenizer: Any
    words: int

    def encode(self, texts: list[str]) -> Tensor:
        """Compute embeddings [n,d] of ``texts``, truncated to ``words`` tokens.

        Raises:
            UsageError: the vocabulary is larger than the model's.
        """
        tokens = self.tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self.words,
            return_token_type_ids=False,
            return_tensors="pt",
        )
        if (largest := int(tokens["input_ids"].max())) >= self.bert.config.vocab_size:
            raise UsageError(
                f"{VOCABULARY} gives token {largest}, the model knows {self.bert.config.vocab_size}: they do not "
                f"belong together; put that of {_HUB} beside the weights"
            )
        embeddings: Tensor = self.projection(self.bert(**tokens).last_hidden_state[:, 0])
        return embeddings


def open_model(reference: Reference, classes: Path | None, native: bool) -> SourceModel:
    """Open the image tower with a maker of zero-shot heads; see `sources.Family`.

    Raises:
        UsageError: the file is no such checkpoint.
    """
    path = Path(reference.rest)
    state = read_state(path)
    return dual(reference, state, path, lambda size: Geometry(size, size, MEAN, STD, "squash"))


def dual(reference: Reference, state: State, path: Path, geometry: Callable[[int], Geometry]) -> SourceModel:
    """Make the whole model of ``state``; ``geometry`` is that of an image tower with so many pixels a side.

    Raises:
        UsageError: the projections or the text encoder are missing.
    """
    model = image_encoder(reference, under(state, "visual_encoder."), path, geometry)
    if lacking := [name for name in _NEEDED if name not in state]:
        raise UsageError(
            f"{path} lacks {', '.join(lacking)}: it is fine-tuned for another task than comparing images with texts; "
            "give a pretrained or a retrieval checkpoint"
        )
    return replace(model, joint=_joint(state, path))


def image_encoder(reference: Reference, state: State, path: Path, geometry: Callable[[int], Geometry]) -> SourceModel:
    """Make the model of an image tower alone; as `dual`."""
    tower, config = vit(state, f"the image encoder in {path}")
    return SourceModel(
        family="albef",
        source=reference.text,
        config=config,
        tower=tower,
        dim=int(config["width"]),
        heads=(),
        geometry=geometry(config["image_size"]),
        weights=state_digest(tower.state_dict()),
    )


def build_tower(config: Json, state: Mapping[str, Tensor]) -> nn.Module:
    """Rebuild the tower of a checkpoint in eval mode; see `sources.Family`.

    Raises:
        UsageError: the weights do not fit.
    """
    tower = _make(config)
    load_into(tower, state, "the checkpoint's tower weights")
    return tower


def vit(state: State, what: str) -> tuple[nn.Module, Json]:
    """Make the vision transformer of weights with timm's names, and the config that `build_tower` takes.

    Raises:
        UsageError: the weights are of another architecture; ``what`` names the model.
    """
    wanted = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight")
    if lacking := [name for name in wanted if name not in state]:
        raise UsageError(f"{what} lacks {', '.join(lacking)}; expected a vision transformer with timm's names")
    width, patch = state["cls_token"].shape[-1], state["patch_embed.proj.weight"].shape[-1]
    config = {
        "name": "vit",
        "image_size": math.isqrt(state["pos_embed"].shape[1] - 1) * patch,
        "patch_size": patch,
        "width": width,
        "depth": count_blocks(state, "blocks."),
        "mlp_ratio": state["blocks.0.mlp.fc1.weight"].shape[0] / width,
    }
    tower = _make(config)
    load_into(tower, state, what)
    return tower, config


def _make(config: Json) -> nn.Module:
    transformer = need("timm.models.vision_transformer", "train").VisionTransformer
    with torch.random.fork_rng(devices=[]):
        tower: nn.Module = transformer(
            img_size=config["image_size"],
            patch_size=config["patch_size"],
            embed_dim=config["width"],
            depth=config["depth"],
            num_heads=config["width"] // _HEAD_WIDTH,
            mlp_ratio=config["mlp_ratio"],
            num_classes=0,
            global_pool="token",
        )
    return tower.eval()


def _joint(state: State, path: Path) -> Joint:
    def embed(names: Sequence[str], templates: Sequence[str]) -> Tensor:
        return class_embeddings(_text_tower(state, path).encode, names, templates)

    return Joint(embed, 1.0 / float(state["temp"]), projection=_linear(state, "vision_proj."))


def _text_tower(state: State, path: Path) -> TextTower:
    transformers = need("transformers", "hf")
    text = {name.removeprefix("bert."): value for name, value in under(state, "text_encoder.").items()}
    kind, depth = _depth(text)
    wanted = {name: value for name, value in text.items() if _sees_no_image(name, depth)}
    if "embeddings.word_embeddings.weight" not in wanted or not depth:
        raise UsageError(f"{path} has no text encoder (text_encoder.embeddings.*, text_encoder.encoder.layer.*)")
    vocabulary, width = wanted["embeddings.word_embeddings.weight"].shape
    # BLIP's BERT has no token types; equal ones add nothing
    wanted.setdefault("embeddings.token_type_embeddings.weight", torch.zeros(2, width))
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // _HEAD_WIDTH,
        intermediate_size=wanted["encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=wanted["embeddings.position_embeddings.weight"].shape[0],
        type_vocab_size=wanted["embeddings.token_type_embeddings.weight"].shape[0],
    )
    with torch.random.fork_rng(devices=[]):
        bert = transformers.BertModel(config, add_pooling_layer=False).eval()
    load_into(bert, wanted, f"the text encoder in {path}")
    return TextTower(bert, _linear(state, "text_proj."), _tokenizer(path), _WORDS[kind])


def _depth(text: State) -> tuple[str, int]:
    """Return the layout's name, and the number of layers of its text tower."""
    fused = {int(name.split(".")[2]) for name in text if _CROSS in name}
    if fused and min(fused) > 0:
        return "ALBEF", min(fused)
    return ("BLIP" if fused else "ALBEF"), count_blocks(text, "encoder.layer.")


def _sees_no_image(name: str, depth: int) -> bool:
    if name.startswith("encoder.layer."):
        return int(name.split(".")[2]) < depth and _CROSS not in name
    return name.startswith("embeddings.") and not name.endswith("position_ids")


def _tokenizer(path: Path) -> Any:
    """Load BERT's uncased tokenizer from vocab.txt beside ``path`` or from the hub."""
    beside = path.parent / VOCABULARY
    if not beside.is_file():
        try:
            beside = Path(need("huggingface_hub", "hf").hf_hub_download(_HUB, VOCABULARY))
        except Exception as error:  # the hub's client raises whatever its transport raises
            raise UsageError(
                f"{beside} does not exist, and that of {_HUB} cannot be downloaded from huggingface.co; where there is "
                f"a network: hf download {_HUB} {VOCABULARY} --local-dir {path.parent}"
            ) from error
    return need("transformers", "hf").BertTokenizer.from_pretrained(beside.parent, local_files_only=True)


def _linear(state: State, prefix: str) -> nn.Linear:
    weights = under(state, prefix)
    layer = nn.Linear(weights["weight"].shape[1], weights["weight"].shape[0])
    load_into(layer, weights, prefix.rstrip("."))
    return layer.eval()
