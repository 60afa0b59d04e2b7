"""Adapters of the `peft` library, merged into the weights of their base: `peft:ADAPTER_DIR[:BASE]`.

ADAPTER_DIR is a folder as `save_pretrained` writes it: adapter_config.json and adapter_model.safetensors. BASE is a
SOURCE, hf:, open_clip: or openai:, whose modules have the names that the adapter gives; None = the Hugging Face model
that adapter_config.json names. LoRA is merged, and so is every other kind that has a form as weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rate.artifacts.parity import tolerance
from rate.artifacts.weights import State, read_state
from rate.errors import UsageError, first_line, need
from rate.export.sources.families import hf, open_clip, openai
from rate.export.sources.source_model import SourceModel
from rate.export.sources.source_string import Reference, parse_source

EXTRA = "lora"
CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_BASES: dict[str, tuple[Callable[[Reference], Any], Callable[[Any, Reference], SourceModel]]] = {
    "hf": (hf.load, hf.as_source),
    "open_clip": (open_clip.load, open_clip.as_source),
    "openai": (openai.load, open_clip.as_source),
}
_PREFIX = "base_model.model."
"""What the library puts before the names of the base's modules."""


def open_model(reference: Reference, classes: Path | None, native: bool) -> SourceModel:
    """Open the base, merge the adapter into it, and compare both forms; see `sources.Family`.

    Raises:
        UsageError: the adapter cannot be read or merged, does not fit its base, or merges to another model.
    """
    folder = Path(reference.name)
    config, told = _config(folder)
    base = _base(reference, config)
    load, as_source = _BASES[base.family]
    encoder = load(base)
    adapted = _Adapted.of(encoder.model, config, _weights(folder), f"the adapter in {folder} and {base.text}")
    before = _embeddings(as_source(replace(encoder, model=adapted.unmerged), reference))
    merged = as_source(replace(encoder, model=adapted.merged()), reference)
    for expected, got in zip(before, _embeddings(merged), strict=True):
        if not float(np.abs(got - expected).max()) <= tolerance(expected):
            raise UsageError(
                f"the adapter in {folder} ({config.peft_type.value}) computes another thing merged than unmerged; "
                "it cannot be exported"
            )
    return replace(merged, notices=(*merged.notices, *told, *adapted.notices))


def _config(folder: Path) -> tuple[Any, tuple[str, ...]]:
    """Read the settings of the adapter, with notices about them."""
    if not (folder / CONFIG).is_file():
        raise UsageError(f"peft:{folder} has no {CONFIG}; expected an adapter's folder as save_pretrained writes it")
    peft = need("peft", EXTRA)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)  # of settings that a newer version wrote
            config = peft.PeftConfig.from_pretrained(str(folder))
    except Exception as error:  # every kind of adapter has its own exceptions
        raise UsageError(
            f"{folder / CONFIG} cannot be read by peft {peft.__version__} ({first_line(error)})"
        ) from error
    if config.is_prompt_learning:
        raise UsageError(
            f"the adapter in {folder} is {config.peft_type.value}: learned inputs, which are no weights to be merged; "
            "what they make of each class can be a head of the base, --head NAME=embeddings:FILE"
        )
    if getattr(config, "megatron_config", None):
        raise UsageError(f"{folder / CONFIG} asks for the layers of Megatron, which are not imported")
    for start in ("init_lora_weights", "init_weights"):
        if getattr(config, start, None) is False:  # random where the file has no tensor
            setattr(config, start, True)
    return config, tuple(f"{folder / CONFIG}: {str(one.message).splitlines()[0]}" for one in told)


def _base(reference: Reference, config: Any) -> Reference:
    text = reference.file
    if not text:
        if not config.base_model_name_or_path:
            raise UsageError(
                f"{reference.name}/{CONFIG} does not name the adapter's base; write peft:{reference.name}:BASE, "
                "such as open_clip:ViT-B-32:openai"
            )
        text = f"hf:{config.base_model_name_or_path}"
    base = parse_source(text)
    if base is None or base.family not in _BASES:
        raise UsageError(f"{reference.text}: adapters are merged into {', '.join(_BASES)} models, and {text} is none")
    return base


def _weights(folder: Path) -> State:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return read_state(folder / name)
    raise UsageError(f"peft:{folder} has no {_WEIGHTS[0]}; expected it beside {CONFIG}")


def _embeddings(model: SourceModel) -> tuple[np.ndarray[Any, Any], ...]:
    """Embeddings of two pictures of noise and of two prompts."""
    size = model.geometry.size
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    assert model.joint is not None  # every base reads text
    with torch.inference_mode():
        images: Tensor = model.tower(pixels)
    return images.numpy(), model.joint.embed(("cat", "dog"), ("a photo of a {}",)).numpy()


@dataclass(frozen=True)
class _Adapted:
    """A model with the layers of an adapter in it."""

    wrapped: Any  # PeftModel
    what: str
    notices: tuple[str, ...]

    @classmethod
    def of(cls, model: Any, config: Any, weights: State, what: str) -> _Adapted:
        """Put the layers of ``config`` into ``model`` and load their ``weights``; ``what`` names both.

        Raises:
            UsageError: a tensor has no place in the model, or a layer that the adapter trained has no tensor.
        """
        peft = need("peft", EXTRA)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of its own use of transformers
                wrapped = peft.PeftModel(model, config)
            told = peft.set_peft_model_state_dict(wrapped, weights)
        except Exception as error:  # every kind of adapter has its own exceptions
            raise UsageError(f"{what} do not fit each other ({first_line(error)})") from error
        if told.unexpected_keys:
            raise UsageError(f"{what} do not fit each other: the base has no place for {_some(told.unexpected_keys)}")
        marks = (wrapped.base_model.prefix, ".modules_to_save.")
        lacking = [name for name in told.missing_keys if any(mark in name for mark in marks)]
        trained = {_part(name) for name in weights}
        if partial := [name for name in lacking if _part(name) in trained]:
            raise UsageError(f"{what} do not fit each other: the adapter lacks {_some(partial)}")
        untouched = sorted({_part(name) for name in lacking})
        notices = (f"the adapter holds nothing for {', '.join(untouched)}: as in the base",) if untouched else ()
        return cls(wrapped.eval(), what, notices)

    @property
    def unmerged(self) -> Any:
        """The model, which computes with the layers of the adapter until they are merged."""
        return self.wrapped.base_model.model

    def merged(self) -> Any:
        """Merge the layers into the weights.

        Raises:
            UsageError: this kind of adapter has no form as weights.
        """
        try:
            return self.wrapped.merge_and_unload(safe_merge=True).eval()
        except Exception as error:  # every kind of adapter has its own exceptions
            raise UsageError(f"{self.what} cannot be merged into weights ({first_line(error)})") from error


def _part(name: str) -> str:
    """The part of the base in which a tensor lies."""
    return name.removeprefix(_PREFIX).partition(".")[0]


def _some(names: Iterable[str]) -> str:
    shown = [name.removeprefix(_PREFIX) for name in names]
    return ", ".join(shown[:2]) + (f" and {len(shown) - 2} more" if len(shown) > 2 else "")
