"""Hugging Face image-text models: `hf:DIR_OR_ID`.

DIR is a folder as `save_pretrained` writes it: config.json, weights, the tokenizer's files, preprocessor_config.json.
An ID is first downloaded from the hub, data only; code in a repository is never run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rate.artifacts.checkpoint import class_embeddings
from rate.artifacts.weights import load_into, state_digest
from rate.data.images.geometry import Geometry, three
from rate.errors import ConfigError, MissingExtra, UsageError, first_line, need
from rate.export.sources.families.hf_forms import FORMS, Form
from rate.export.sources.source_model import Joint, SourceModel
from rate.export.sources.source_string import Reference
from rate.types import Json

EXTRA = "hf"
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_FETCHED = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")
_FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_TINY_TEXT = {"num_hidden_layers": 1, "vocab_size": 2, "pad_token_id": 0}
"""The sizes of a text tower that is discarded, because a checkpoint holds none."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """An image-text model with its tokenizer, in eval mode on the CPU in f32."""

    form: Form
    model: Any  # PreTrainedModel
    tokenizer: Any
    geometry: Geometry

    def encode(self, texts: list[str]) -> Tensor:
        """Compute embeddings [n,d] of ``texts``, truncated to the model's length.

        Raises:
            UsageError: the tokenizer's vocabulary is larger than the model's.
        """
        text = self.model.config.text_config
        tokens = self.tokenizer(
            texts,
            padding=self.form.padding,
            truncation=True,
            max_length=text.max_position_embeddings,
            return_tensors="pt",
        )
        if (largest := int(tokens["input_ids"].max())) >= text.vocab_size:
            raise UsageError(
                f"the tokenizer gives token {largest}, the model knows {text.vocab_size}: they do not belong together; "
                "put the model's own tokenizer files into its folder"
            )
        return self.form.text(
            self.model, {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}
        )

    @property
    def joint(self) -> Joint:
        """The space of both embeddings; the logits of a head in it equal those of the model's own forward."""
        scale, bias = (getattr(self.model, name, None) for name in ("logit_scale", "logit_bias"))
        return Joint(
            partial(class_embeddings, self.encode),
            1.0 if scale is None else float(scale.detach().exp()),
            0.0 if bias is None else float(bias.detach()),
        )


def open_model(reference: Reference, classes: Path | None, native: bool) -> SourceModel:
    """Open the image tower and the space of both embeddings; see `sources.Family`.

    Raises:
        UsageError: as `load`.
    """
    return as_source(load(reference), reference)


def load(reference: Reference) -> Encoder:
    """Load the model and tokenizer of SOURCE.

    Raises:
        UsageError: the folder or id does not exist, the model is of another kind, or files or weights are missing.
    """
    folder = local_folder(reference.rest)
    with quiet():
        config = config_of(folder)
        form = _form(config, folder)
        return Encoder(form, _load(form, config, folder), _tokenizer(folder), _geometry(config, folder))


def as_source(encoder: Encoder, reference: Reference) -> SourceModel:
    """Make the source of a model: its image tower, and the space of both embeddings."""
    form, geometry, config = encoder.form, encoder.geometry, encoder.model.config
    tower = form.tower(encoder.model)
    with torch.inference_mode():
        features = tower(torch.zeros(1, 3, geometry.size, geometry.size))
    return SourceModel(
        family="hf",
        source=reference.text,
        config={"name": form.model, "config": json.loads(config.to_json_string(use_diff=False))},
        tower=tower,
        dim=features.shape[1],
        heads=(),
        geometry=geometry,
        weights=state_digest(tower.state_dict()),
        notices=(form.notice,) if form.notice else (),
        joint=encoder.joint,
    )


def build_tower(config: Json, state: Mapping[str, Tensor]) -> nn.Module:
    """Rebuild the tower of a checkpoint in eval mode; see `sources.Family`.

    Raises:
        UsageError: this transformers cannot make the architecture, or the weights do not fit.
    """
    form = next((form for forms in FORMS.values() for form in forms if form.model == config.get("name")), None)
    if form is None:
        raise UsageError(f"a checkpoint of transformers' {config.get('name')} cannot be opened by this version of rate")
    kind = getattr(need("transformers", EXTRA), form.model)
    described = config["config"] | {"text_config": config["config"]["text_config"] | _TINY_TEXT}
    with quiet(), torch.random.fork_rng(devices=[]):
        try:
            tower = form.tower(kind(kind.config_class.from_dict(described)))
        except Exception as error:  # a model's constructor raises arbitrary exceptions for a config of another model
            raise UsageError(f"transformers cannot make {form.model} ({first_line(error)})") from error
    load_into(tower, state, "the checkpoint's tower weights")
    return tower.eval()


def local_folder(name: str, kind: str = "hf") -> Path:
    """Return the folder ``name``, or the hub's local copy of the repository with that id; SOURCE begins with ``kind``.

    Raises:
        UsageError: neither exists.
    """
    if Path(name).is_dir():
        return Path(name)
    if not _ID.fullmatch(name):
        raise UsageError(f"{kind}:{name} is no folder, and no id such as openai/clip-vit-base-patch32 either")
    hub = need("huggingface_hub", EXTRA)
    try:
        folder = Path(hub.snapshot_download(name, allow_patterns=list(_FETCHED)))
        if not any(folder.glob("*.safetensors")):
            hub.snapshot_download(name, allow_patterns=["pytorch_model*.bin"])
    except Exception as error:  # the hub's client raises whatever its transport raises
        raise UsageError(
            f"{kind}:{name} is no folder here, and {name} cannot be downloaded from huggingface.co "
            f"({first_line(error)}); where there is a network: hf download {name} --local-dir DIR, then {kind}:DIR"
        ) from error
    return folder


def config_of(folder: Path, kind: str = "hf") -> Any:
    """Read the config of a model's folder; SOURCE begins with ``kind``.

    Raises:
        UsageError: it is missing, or of no model that transformers knows.
    """
    if not (folder / "config.json").is_file() and (folder / "adapter_config.json").is_file():
        raise UsageError(f"hf:{folder} holds an adapter: write peft:{folder}, or peft:{folder}:BASE")
    if not (folder / "config.json").is_file():
        raise UsageError(f"{kind}:{folder} has no config.json; expected a folder as save_pretrained writes it")
    transformers = need("transformers", EXTRA)
    try:
        return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers and every config class have their own exceptions
        raise UsageError(
            f"{folder / 'config.json'} cannot be read as a model's config ({first_line(error)})"
        ) from error


def _form(config: Any, folder: Path) -> Form:
    forms = FORMS.get(config.model_type)
    if forms is None:
        why = "" if hasattr(config, "text_config") else ", which reads no text (timm: has image models)"
        raise UsageError(
            f"hf:{folder} is of the type {config.model_type!r}{why}; image-text models that can be exported are "
            f"{', '.join(FORMS)}; one that generates text is hf-vlm:DIR, and another model can be exported with "
            "torch.onnx.export and given as onnx:FILE"
        )
    declared = config.architectures or ()
    if unknown := [name for name in declared if not hasattr(need("transformers", EXTRA), name)]:
        raise UsageError(
            f"hf:{folder} is a {unknown[0]}, which is no class of this transformers: code in a repository is not run; "
            "export the model with torch.onnx.export and give it as onnx:FILE"
        )
    return next((form for form in forms if form.model in declared), forms[0])


def _load(form: Form, config: Any, folder: Path) -> Any:
    """Load the model with all its weights from safetensors, or otherwise from a pickle that holds tensors only."""
    kind = getattr(need("transformers", EXTRA), form.model)
    try:
        model, told = kind.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=any(folder.glob("*.safetensors")),
            weights_only=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # pickle, safetensors, torch and transformers each have their own exceptions
        raise UsageError(
            f"the weights in {folder} cannot be loaded into {form.model} ({first_line(error)}); expected "
            "model.safetensors, or pytorch_model.bin with tensors alone"
        ) from error
    if missing := sorted(told["missing_keys"]):
        raise UsageError(
            f"the weights in {folder} lack {', '.join(missing[:3])} and with that {len(missing)} tensors of "
            f"{form.model}; only whole image-text models can be exported"
        )
    return model.eval()


def _tokenizer(folder: Path) -> Any:
    # without a vocabulary transformers silently makes a tokenizer that has no words
    if not any(vocabulary for pattern in _VOCABULARIES for vocabulary in folder.glob(pattern)):
        raise UsageError(f"hf:{folder} has no tokenizer; expected one of {', '.join(_VOCABULARIES)} in it")
    try:
        return need("transformers", EXTRA).AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except ImportError as error:
        raise MissingExtra(
            f"the tokenizer in {folder} needs a package ({first_line(error)}); install it with: "
            f"pip install 'rate-engine[{EXTRA}]'"
        ) from error
    except Exception as error:  # every tokenizer class has its own exceptions
        raise UsageError(
            f"the tokenizer in {folder} cannot be read ({first_line(error)}); are its files there?"
        ) from error


def _geometry(config: Any, folder: Path) -> Geometry:
    """Read resize, crop and normalisation from preprocessor_config.json, with the defaults of its class.

    Raises:
        UsageError: the file is missing, or its geometry cannot be reproduced here.
    """
    try:
        processor = need("transformers", EXTRA).AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # every processor class has its own exceptions
        raise UsageError(
            f"hf:{folder} does not say how images are prepared ({first_line(error)}); add its preprocessor_config.json"
        ) from error
    return geometry_of(processor, config.vision_config, f"hf:{folder}")


def geometry_of(processor: Any, vision: Any, what: str) -> Geometry:
    """Return resize, crop and normalisation of an image processor of transformers; ``what`` names the model.

    Raises:
        UsageError: they cannot be reproduced here for the model with the config ``vision`` of its images.
    """
    told = processor.to_dict()
    try:
        return _naflex(told, vision) if "max_num_patches" in told else _squared(told, int(vision.image_size))
    except (AttributeError, ConfigError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{what} prepares images in a way that has no equal here: {error}") from error


def _naflex(told: Json, vision: Any) -> Geometry:
    """Return the geometry of a square image with the largest number of patches of the processor."""
    sides = math.isqrt(vision.num_patches), math.isqrt(told["max_num_patches"])
    if sides[0] ** 2 != vision.num_patches or sides[0] != sides[1] or told["patch_size"] != vision.patch_size:
        raise ConfigError(
            f"up to {told['max_num_patches']} patches of {told['patch_size']} pixels, where the model has "
            f"{vision.num_patches} positions and patches of {vision.patch_size}; both must be one square"
        )
    return resized(told, sides[0] * vision.patch_size, None)


def resized(told: Json, side: int, shortest: int | None) -> Geometry:
    """Build the geometry; ``shortest`` is the short side before the crop, and None squashes both sides."""
    steps = ("do_resize", "do_rescale", "do_normalize")
    if off := [step for step in steps if not told.get(step)]:
        raise ConfigError(f"{off[0]} is off")
    if abs(told["rescale_factor"] * 255 - 1) > 1e-6:
        raise ConfigError(f"pixels are multiplied by {told['rescale_factor']}, not 1/255")
    if told["resample"] not in _FILTERS:
        raise ConfigError(f"resample {told['resample']} is neither bilinear (2) nor bicubic (3)")
    mean, std = three(told["image_mean"]), three(told["image_std"])
    kind = "squash" if shortest is None else "center"
    return Geometry(side, shortest or side, mean, std, kind, _FILTERS[told["resample"]])


def _squared(told: Json, side: int) -> Geometry:
    """Return the geometry of a processor with one fixed size."""
    size = told["size"]
    crop = told.get("crop_size") if told.get("do_center_crop") else None
    shortest = size.get("shortest_edge")
    sides = {side, *((crop["height"], crop["width"]) if crop else (size["height"], size["width"]))}
    if len(sides) != 1:
        raise ConfigError(f"the processor gives {sides - {side}} pixels a side, the model takes {side}")
    if shortest is None and crop and (size["height"], size["width"]) != (side, side):
        raise ConfigError(f"a crop of {side} out of a squashed image of {size['width']} x {size['height']} pixels")
    return resized(told, side, shortest)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' reports of loading; failures raise or are checked here."""
    logging = need("transformers", EXTRA).utils.logging
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
