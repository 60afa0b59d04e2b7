"""open_clip models: `open_clip:NAME[:WEIGHTS]`, `open_clip:CONFIG.json[:WEIGHTS]`, `open_clip:local-dir:DIR`.

WEIGHTS is a file, or for a NAME a pretrained tag that open_clip downloads. Features are the unnormalised image
embedding: linear heads take it directly (the paper's LP), zero-shot heads normalise it themselves.
"""

from __future__ import annotations

import difflib
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rate.artifacts.weights import load_into, state_digest
from rate.data.images.geometry import Geometry, three
from rate.errors import ConfigError, UsageError, first_line, need
from rate.export.sources.source_model import Joint, SourceModel
from rate.export.sources.source_string import Reference
from rate.records import read_json
from rate.types import Json

LOCAL = "local-dir"
CONFIG = "open_clip_config.json"
_CONTEXT = 77  # where a config does not say it
_TOKENIZER = "hf_tokenizer_name"
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")


@dataclass(frozen=True, eq=False)
class DualEncoder:
    """An open_clip model with its tokenizer, in eval mode on the CPU in f32."""

    model: Any  # open_clip.CLIP or CustomTextCLIP
    tokenizer: Any  # texts -> i64 [n,context]
    config: Json  # {"name", "model_cfg", "preprocess_cfg"}: rebuilds the architecture
    geometry: Geometry
    notices: tuple[str, ...] = ()


def open_model(reference: Reference, classes: Path | None, native: bool) -> SourceModel:
    """Open the image tower with a maker of zero-shot heads; see `sources.Family`.

    Raises:
        UsageError: the name is unknown, the weights do not fit, or the model has no square colour input.
    """
    return as_source(load(reference), reference)


def as_source(encoder: DualEncoder, reference: Reference) -> SourceModel:
    """Make the source of a model: its image tower with a maker of zero-shot heads.

    Raises:
        UsageError: the model does not give one embedding for each image.
    """
    tower = encoder.model.visual
    with torch.inference_mode():
        size = encoder.geometry.size
        features = tower(torch.zeros(1, 3, size, size))
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise UsageError(f"{reference.text} does not give one embedding an image; it cannot be exported")
    return SourceModel(
        family="open_clip",
        source=reference.text,
        config=encoder.config,
        tower=tower,
        dim=features.shape[1],
        heads=(),
        geometry=encoder.geometry,
        weights=state_digest(tower.state_dict()),
        notices=encoder.notices,
        joint=joint(encoder),
    )


def build_tower(config: Json, state: Mapping[str, Tensor]) -> nn.Module:
    """Rebuild the tower of a checkpoint in eval mode; see `sources.Family`.

    Raises:
        UsageError: this open_clip cannot make the architecture, or the weights do not fit.
    """
    model, _ = create(config, "the checkpoint's model")
    load_into(model.visual, state, "the checkpoint's tower weights")
    tower: nn.Module = model.visual.eval()
    return tower


def build_encoder(config: Json, tower: Mapping[str, Tensor], text: Mapping[str, Tensor]) -> DualEncoder:
    """Rebuild the whole model of a checkpoint; ``text`` holds all weights except those of the image ``tower``.

    Raises:
        UsageError: this open_clip cannot make the architecture, or the weights do not fit.
    """
    model, tokenizer = create(config, "the checkpoint's model")
    whole = {f"visual.{name}": value for name, value in tower.items()} | dict(text)
    load_into(model, whole, "the checkpoint's weights")
    return DualEncoder(model.eval(), tokenizer, config, geometry_of(model, str(config.get("name"))))


def joint(encoder: DualEncoder) -> Joint:
    """Describe the space of both embeddings, with the scale and bias that the model has now.

    Class embeddings are open_clip's own: every template is encoded and normalised, and their mean normalised again.
    """
    open_clip = need("open_clip", "train")
    scale, bias = encoder.model.logit_scale.detach(), getattr(encoder.model, "logit_bias", None)

    def embed(names: Sequence[str], templates: Sequence[str]) -> Tensor:
        weight: Tensor = open_clip.build_zero_shot_classifier(
            encoder.model, encoder.tokenizer, list(names), list(templates), device=scale.device
        )
        return weight.T.contiguous()

    return Joint(embed, float(scale.exp()), 0.0 if bias is None else float(bias.detach()))


def load(reference: Reference) -> DualEncoder:
    """Load the model and tokenizer of SOURCE.

    Raises:
        UsageError: the name is unknown, a file is missing, or the weights do not fit.
    """
    config, weights = _described(reference)
    notices: tuple[str, ...] = ()
    if weights is not None and not weights.exists():
        return _downloaded(reference, config)
    model, tokenizer = create(config, reference.text)
    if weights is None:
        notices = (f"{reference.name} has random weights: give {reference.text}:WEIGHTS for trained ones",)
    else:
        _load_weights(model, weights)
    return DualEncoder(model.eval().float(), tokenizer, config, geometry_of(model, reference.name), notices)


class _Silent(logging.Filter):
    """Drops what is logged on a logger itself below an error."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR


def create(config: Json, what: str) -> tuple[Any, Any]:
    """Make the model with reproducible random weights and the tokenizer, through open_clip's own folder format.

    Raises:
        UsageError: this open_clip cannot make the architecture; ``what`` names the model.
    """
    open_clip = need("open_clip", "train")
    # open_clip logs every step on the root logger; failures arrive as exceptions. The level of that logger stays:
    # it is also the level of all other loggers and threads.
    logger, silent = logging.getLogger(), _Silent()
    with tempfile.TemporaryDirectory(prefix="rate-") as folder, torch.random.fork_rng(devices=[]):
        described = {"model_cfg": config["model_cfg"], "preprocess_cfg": config["preprocess_cfg"]}
        (Path(folder) / CONFIG).write_text(json.dumps(described), encoding="utf-8")
        torch.manual_seed(0)
        logger.addFilter(silent)
        try:
            named = _named_tokenizer(config["model_cfg"]["text_cfg"])
            model = open_clip.create_model(f"{LOCAL}:{folder}", load_weights=False)
            return model.eval(), named or open_clip.get_tokenizer(f"{LOCAL}:{folder}")
        except UsageError:
            raise
        except Exception as error:  # a model's constructor raises arbitrary exceptions for a config of another model
            raise UsageError(f"open_clip cannot make {what} ({type(error).__name__}: {error})") from error
        finally:
            logger.removeFilter(silent)


def _named_tokenizer(text: Json) -> Any:
    """Load the Hugging Face tokenizer that a text config names by folder or id; None = it has open_clip's own.

    Raises:
        UsageError: it is not here and cannot be downloaded.
    """
    if not (name := text.get(_TOKENIZER)):
        return None
    need("transformers", "hf")
    try:
        # whatever a config asks for, code in a repository is not run
        settings = {**text.get("tokenizer_kwargs", {}), "trust_remote_code": False}
        return need("open_clip.tokenizer", "train").HFTokenizer(
            name, text.get("context_length", _CONTEXT), tokenizer_mode=text.get("tokenizer_mode"), **settings
        )
    except Exception as error:  # every tokenizer class, and the hub's client, have their own exceptions
        raise UsageError(
            f"the tokenizer {name} that the model is described with cannot be read ({first_line(error)}); where there "
            f"is a network: hf download {name} --local-dir DIR, and name DIR as {_TOKENIZER} in {CONFIG}, or put "
            "its files beside that"
        ) from error


def geometry_of(model: Any, name: str) -> Geometry:
    """Return resize, crop and normalisation of the model's training, as open_clip records them.

    Raises:
        UsageError: they cannot be reproduced exactly.
    """
    recorded = need("open_clip", "train").get_model_preprocess_cfg(model)
    size = recorded["size"]
    height, width = (size, size) if isinstance(size, int) else size
    crops = {"shortest": "center", "squash": "squash"}
    mode = recorded.get("resize_mode", "shortest")
    if height != width or mode not in crops:
        raise UsageError(
            f"open_clip {name} takes {width} x {height} pixels, resize mode {mode!r}; square inputs with "
            f"{' or '.join(crops)} can be evaluated"
        )
    try:
        return Geometry(
            size=height,
            resize=height,
            mean=three(recorded["mean"]),
            std=three(recorded["std"]),
            crop=crops[mode],
            interpolation=recorded["interpolation"],
        )
    except ConfigError as error:
        raise UsageError(f"open_clip {name} prepares images in a way that has no equal here: {error}") from error


def _described(reference: Reference) -> tuple[Json, Path | None]:
    """Return the architecture and the weights file or tag; None = random weights."""
    given = None if reference.file is None else Path(reference.file)
    if reference.name == LOCAL:
        if given is None or not (given / CONFIG).is_file():
            raise UsageError(f"SOURCE {reference.text!r}: expected open_clip:{LOCAL}:DIR, a folder with {CONFIG}")
        config = _read_config(given / CONFIG)
        text = config["model_cfg"]["text_cfg"]
        if text.get(_TOKENIZER) and any((given / name).is_file() for name in _VOCABULARIES):
            text[_TOKENIZER] = str(given.resolve())
        return config, _weights_in(given)
    if reference.name.endswith(".json"):
        return _read_config(Path(reference.name)), given
    open_clip = need("open_clip", "train")
    model_cfg = open_clip.get_model_config(reference.name)
    if model_cfg is None:
        close = difflib.get_close_matches(reference.name, open_clip.list_models(), n=3, cutoff=0.5)
        meant = f"; did you mean {', '.join(close)}?" if close else ""
        raise UsageError(f"open_clip has no model {reference.name!r}{meant}")
    return {"name": reference.name, "model_cfg": model_cfg, "preprocess_cfg": {}}, given


def _read_config(path: Path) -> Json:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as an open_clip config ({error})") from error
    flat = (
        {key: value for key, value in content.items() if key != "preprocess_cfg"} if isinstance(content, dict) else {}
    )
    model_cfg = flat.get("model_cfg", flat)
    if not {"embed_dim", "vision_cfg", "text_cfg"} <= set(model_cfg):
        raise UsageError(f"{path} is not an open_clip config: it must give embed_dim, vision_cfg and text_cfg")
    return {"name": path.stem, "model_cfg": model_cfg, "preprocess_cfg": content.get("preprocess_cfg", {})}


def _weights_in(folder: Path) -> Path:
    for pattern in ("open_clip_model.safetensors", "*.safetensors", "open_clip_pytorch_model.bin", "*.bin", "*.pt"):
        if candidates := sorted(folder.glob(pattern)):
            return candidates[0]
    raise UsageError(f"{folder} has a {CONFIG} and no weights; expected open_clip_model.safetensors beside it")


def _load_weights(model: Any, path: Path) -> None:
    try:
        need("open_clip", "train").load_checkpoint(model, str(path), weights_only=True)
    except Exception as error:  # pickle, safetensors and torch each have their own exceptions
        raise UsageError(
            f"the weights in {path} cannot be loaded into this model ({type(error).__name__}: {first_line(error)}); "
            "expected open_clip's format, .safetensors or a pickle of tensors alone"
        ) from error


def _downloaded(reference: Reference, config: Json) -> DualEncoder:
    """Load a pretrained tag of a NAME, which open_clip downloads."""
    open_clip = need("open_clip", "train")
    name, tag = reference.name, str(reference.file)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        known = f"tags of {name} are {', '.join(tags[:6])}" if tags else f"{name} has no pretrained tags"
        raise UsageError(f"WEIGHTS {tag!r} is neither a file nor a pretrained tag; {known}")
    try:
        model = open_clip.create_model(name, pretrained=tag)
    except Exception as error:  # the hub's client raises whatever its transport raises
        raise UsageError(
            f"the weights {name}:{tag} cannot be downloaded ({first_line(error)}); give a file instead"
        ) from error
    if open_clip.get_pretrained_cfg(name, tag).get("quick_gelu"):
        config = config | {"model_cfg": config["model_cfg"] | {"quick_gelu": True}}
    geometry = geometry_of(model, name)
    own = {"mean": list(geometry.mean), "std": list(geometry.std), "interpolation": geometry.interpolation}
    config = config | {"preprocess_cfg": own}
    return DualEncoder(model.eval().float(), open_clip.get_tokenizer(name), config, geometry)
