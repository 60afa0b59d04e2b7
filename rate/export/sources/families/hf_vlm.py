"""Generative vision-language models of transformers: `hf-vlm:DIR_OR_ID[:SIZE]`.

DIR is a folder as `save_pretrained` writes it: config.json, weights, the files of the tokenizer and of the processor.
Every picture becomes a square of one size, so that all pictures have the same number of tokens. An ID is first
downloaded from the hub, data only; code in a repository is never run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from rate.artifacts.folders import canonical, digest_files
from rate.backends.base import Prompt
from rate.data.images.geometry import Geometry
from rate.errors import ConfigError, SampleError, UsageError, first_line, need
from rate.export.sources.families.hf import EXTRA, config_of, geometry_of, local_folder, quiet, resized
from rate.export.sources.source_string import Reference
from rate.types import Question

KIND = "hf-vlm"
SQUARES, PATCHES = "squares", "patches"
"""What a model takes: pixels [b,3,h,w], or the patches of each picture, in any number."""

TYPES = {"llava": SQUARES, "qwen2_vl": PATCHES, "qwen2_5_vl": PATCHES}
"""Maps model_type of config.json to what the model takes."""

USUAL_SIZE = 448
"""The usual side of pictures for models that take any size, pixels."""

_DECIDING = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "*.bin")
"""The files of a folder that can change an answer."""


@dataclass(frozen=True)
class VlmFolder:
    """A generative model's folder: how pictures and questions are given to it. The weights are not loaded."""

    source: str
    folder: Path
    config: Any  # PretrainedConfig
    processor: Any  # ProcessorMixin
    geometry: Geometry

    @property
    def takes(self) -> str:
        """`SQUARES` or `PATCHES`."""
        return TYPES[self.config.model_type]

    @property
    def image_token(self) -> str:
        """The text that stands for a picture in a prompt."""
        return str(self.processor.image_token)

    @cached_property
    def weights(self) -> str:
        """The sha256, hex, of all files of the folder that can change an answer, and of their names."""
        names = {path.name for pattern in _DECIDING for path in self.folder.glob(pattern)}
        return hashlib.sha256(canonical(digest_files(self.folder, names))).hexdigest()

    @cached_property
    def image_tokens(self) -> int:
        """The number of tokens of a picture."""
        blank = Image.new("RGB", (self.geometry.size, self.geometry.size))
        read = self.processor(text=[self.image_token], images=[blank], return_tensors="pt")
        return int((read["input_ids"] == self.config.image_token_id).sum())

    def text(self, question: str) -> str:
        """Return the prompt by the chat template of the processor; without a template it is the question itself.

        Raises:
            SampleError: it does not hold the placeholder of the picture once.
        """
        template = getattr(self.processor, "chat_template", None)
        text = question
        if template is not None:
            content = [{"type": "image"}, {"type": "text", "text": question}]
            asked = [{"role": "user", "content": content}]
            text = str(self.processor.apply_chat_template(asked, add_generation_prompt=True, tokenize=False))
        if (count := text.count(self.image_token)) != 1:
            cure = "without a chat template the question is the whole prompt: write the placeholder into it"
            if template is not None:
                cure = "the chat template of the processor places the picture: take the placeholder out of the question"
            if template is not None and not count:
                cure = "the chat template of the processor takes no picture; mend chat_template in the model's folder"
            raise SampleError(f"the prompt of {question!r} has {self.image_token} {count} times, expected once; {cure}")
        return text

    def prompt(self, question: Question) -> Prompt:
        """Return a question as the model reads it; see `rate.backends.base.Asked`.

        Raises:
            SampleError: the placeholder of the picture is missing, or two options begin with the same token.
        """
        text = self.text(question.text)
        before = self._ids(text, special=False)
        answers = [self._first_token(text, before, option) for option in question.options]
        for option, answer in zip(question.options, answers, strict=True):
            if alike := [one for one, other in zip(question.options, answers, strict=True) if other == answer][1:]:
                raise SampleError(
                    f"the options {option!r} and {alike[0]!r} of {question.text!r} begin with the same token "
                    f"{self.processor.tokenizer.decode([answer])!r}, and the first token is what is explained; "
                    "write options that differ in it, such as A|B, and name them in the question"
                )
        return Prompt(self.tokens(text), tuple(answers))

    def tokens(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a prompt with all of its picture's, as the processor's `apply_chat_template` does."""
        expanded = text.replace(self.image_token, self.image_token * self.image_tokens)
        bos = self.processor.tokenizer.bos_token
        return self._ids(expanded, special=not (bos and text.startswith(bos)))

    def example(self, question: str) -> str:
        """Return the prompt of a question that holds no placeholder, whether the processor has a template or not."""
        has_template = getattr(self.processor, "chat_template", None) is not None
        return self.text(question if has_template else f"{self.image_token} {question}")

    def _first_token(self, text: str, before: tuple[int, ...], option: str) -> int:
        """Return the first token of an option behind a prompt, with a space between them unless it ends in one."""
        ends_open = text[-1:].isspace() or text.endswith(tuple(self.processor.tokenizer.all_special_tokens))
        after = self._ids(f"{text}{'' if ends_open else ' '}{option}", special=False)
        if after[: len(before)] != before or len(after) == len(before):
            raise SampleError(
                f"the tokenizer reads the end of the prompt {text[-20:]!r} and the option {option!r} as one token; "
                "end the question otherwise, or write the option otherwise"
            )
        return after[len(before)]

    def _ids(self, text: str, *, special: bool) -> tuple[int, ...]:
        return tuple(self.processor.tokenizer(text, add_special_tokens=special)["input_ids"])


def open_answers(reference: Reference) -> VlmFolder:
    """Open the folder of SOURCE without its weights.

    Raises:
        UsageError: the folder or id does not exist, the model is of another kind, or it has no processor that can be
            reproduced.
    """
    folder = local_folder(reference.name, KIND)
    with quiet():
        config = config_of(folder, KIND)
        if config.model_type not in TYPES:
            raise UsageError(
                f"{KIND}:{folder} is of the type {config.model_type!r}; generative models that can be asked are "
                f"{', '.join(TYPES)}, whose pictures are one square each; image-text models with embeddings are hf:"
            )
        processor = _processor(folder)
        try:
            geometry = _geometry(config, processor, reference.file)
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{KIND}:{folder} prepares images in a way that has no equal here: {error}") from error
    return VlmFolder(reference.text, folder, config, processor, geometry)


def load_model(answers: VlmFolder, precision: str) -> Any:
    """Load the model with all its weights in eval mode on the CPU, as f32, fp16 or bf16.

    Raises:
        UsageError: the weights cannot be loaded, or some are missing.
    """
    transformers = need("transformers", EXTRA)
    dtype = {"f32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    with quiet():
        try:
            model, told = transformers.AutoModelForImageTextToText.from_pretrained(
                answers.folder,
                dtype=dtype,
                use_safetensors=any(answers.folder.glob("*.safetensors")),
                weights_only=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:  # pickle, safetensors, torch and transformers each have their own exceptions
            raise UsageError(
                f"the weights in {answers.folder} cannot be loaded ({first_line(error)}); expected model.safetensors, "
                "or pytorch_model.bin with tensors alone"
            ) from error
    if missing := sorted(told["missing_keys"]):
        raise UsageError(
            f"the weights in {answers.folder} lack {', '.join(missing[:3])} and with that {len(missing)} tensors; "
            "copy the whole folder"
        )
    model.config.get_text_config().use_cache = False
    return model.eval()


def _processor(folder: Path) -> Any:
    try:
        processor = need("transformers", EXTRA).AutoProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # every processor class has its own exceptions
        raise UsageError(f"{_LACKS.format(folder)} ({first_line(error)})") from error
    if lacking := [part for part in ("tokenizer", "image_processor", "image_token") if not hasattr(processor, part)]:
        raise UsageError(f"{_LACKS.format(folder)} (no {lacking[0]})")
    return processor


_LACKS = (
    f"{KIND}:{{}} has no processor that reads both pictures and text; put preprocessor_config.json, "
    "processor_config.json and the files of the tokenizer beside the weights"
)


def _geometry(config: Any, processor: Any, size: str | None) -> Geometry:
    """Return the geometry of pictures, and let the processor of patches give them that size."""
    told = processor.image_processor.to_dict()
    if TYPES[config.model_type] == SQUARES:
        if size is not None:
            raise ConfigError(f"pictures have {config.vision_config.image_size} pixels a side; leave :{size} out")
        return geometry_of(processor.image_processor, config.vision_config, "its processor")
    step = told["patch_size"] * told["merge_size"]
    side = USUAL_SIZE // step * step if size is None else int(size) if size.isdecimal() else 0
    if side < step or side % step:
        raise ConfigError(f"the side of a picture must be a multiple of {step} pixels, got {size}")
    processor.image_processor.size = {"shortest_edge": side * side, "longest_edge": side * side}
    return resized(told, side, None)
