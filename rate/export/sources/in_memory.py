"""A PyTorch module in memory as a source: an image classifier, or a dual encoder of open_clip or transformers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rate.artifacts.weights import state_digest
from rate.data.images.geometry import Geometry
from rate.errors import ConfigError, UsageError, first_line
from rate.export.options import ExportOptions, read_classes
from rate.export.sources.prompts import Names, Prompts, prompts_of, read_prompts, read_templates
from rate.export.sources.source_model import SourceHead, SourceModel
from rate.export.sources.source_string import IN_MEMORY, Reference
from rate.export.sources.stated_geometry import USUAL, stated_geometry

HEAD, ZERO_SHOT = "native", "zs"
"""The names of the head of a classifier, and of a dual encoder."""

_UNNAMED = "LABEL_0"  # what transformers calls the first of classes that nobody named


@dataclass(frozen=True, slots=True)
class Description:
    """What a module does not say of itself."""

    classes: Path | str | Names | None = None  # a file as --classes takes it, or the names
    templates: Path | str | Sequence[str] | None = None  # of the prompts of a dual encoder
    processor: Any = None  # open_clip's tokenizer; transformers' processor or image processor


def open_module(module: nn.Module, told: Description, options: ExportOptions) -> SourceModel:
    """Copy a module as it is now to the CPU, in f32 and eval mode, and describe it as a source with its head.

    A classifier maps pixels [b,3,h,w] to logits [b,c], as a tensor or as `logits` of what it returns. A dual encoder
    gets a zero-shot head for ``told.classes``. ``options`` have the geometry of a module that does not say it.

    Raises:
        UsageError: the module is neither, cannot be copied or run, or lacks classes, processor or size.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"a SOURCE in text or a torch module is needed, got {type(module).__name__}")
    for name in ("input", "output", "heads"):
        if getattr(options, name):
            raise ConfigError(f"{name}: a module in memory has one input and one head; leave it out")
    known = _Known(copied(module), told, options)
    if (encoder := known.dual_encoder) is None:
        if told.templates is not None:
            raise UsageError(f"templates: {known.name} is a classifier and reads no text; leave them out")
        return _classifier(known)
    options.refuse_graph_options("dual encoder's")
    if told.classes is None:
        raise UsageError(f"{known.name} has no classifier of its own; give the names of the classes as classes")
    prompts = _prompts(told)
    assert encoder.joint is not None, "it reads text"
    with torch.inference_mode():
        head = encoder.joint.head(encoder.joint.embed(prompts.names, prompts.templates).clone())
    return _in_memory(encoder, SourceHead(ZERO_SHOT, "zero-shot", prompts.classes, head))


def copied(module: nn.Module) -> nn.Module:
    """Copy a module to the CPU in eval mode, its floating-point tensors in f32; gradients are not copied.

    What torch.compile or a parallel wrapper holds is copied without the wrapper.

    Raises:
        UsageError: a part of it cannot be copied.
    """
    while (inner := _wrapped(module)) is not None:
        module = inner
    tensors: dict[int, Any] = {}
    for value in (*module.parameters(), *module.buffers()):
        kind = torch.float32 if value.is_floating_point() else value.dtype
        own = value.detach().to("cpu", kind, copy=True)
        tensors[id(value)] = nn.Parameter(own, requires_grad=False) if isinstance(value, nn.Parameter) else own
    try:
        return copy.deepcopy(module, tensors).eval()
    except Exception as error:  # a module may hold anything, such as an open file
        raise UsageError(
            f"{type(module).__name__} cannot be copied ({first_line(error)}); give the part of it that computes logits"
        ) from error


def _wrapped(module: nn.Module) -> nn.Module | None:
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner: nn.Module = module.module
        return inner
    compiled = getattr(module, "_orig_mod", None)
    return compiled if isinstance(compiled, nn.Module) else None


@dataclass(frozen=True)
class _Known:
    """A copied module with what is told of it."""

    module: Any
    told: Description
    options: ExportOptions

    @property
    def name(self) -> str:
        return type(self.module).__name__

    @property
    def reference(self) -> Reference:
        return Reference(f"{IN_MEMORY}:{self.name}", IN_MEMORY, self.name, None)

    @cached_property
    def dual_encoder(self) -> SourceModel | None:
        """The source of a dual encoder, without heads; None: it is none."""
        if isinstance(getattr(self.module, "visual", None), nn.Module) and hasattr(self.module, "encode_text"):
            from rate.export.sources.families import open_clip

            tokenizer = self._processor("open_clip.get_tokenizer(NAME)")
            geometry = open_clip.geometry_of(self.module, self.name)
            encoder = open_clip.DualEncoder(self.module, tokenizer, {"name": self.name}, geometry)
            return open_clip.as_source(encoder, self.reference)
        if hasattr(getattr(self.module, "config", None), "text_config"):
            from rate.export.sources.families import hf
            from rate.export.sources.families.hf_forms import FORMS

            forms = {form.model: form for some in FORMS.values() for form in some}
            if self.name not in forms:
                raise UsageError(f"{self.name} is not among the image-text models {', '.join(forms)}")
            processor = self._processor("transformers.AutoProcessor.from_pretrained(DIR)")
            if not (hasattr(processor, "tokenizer") and hasattr(processor, "image_processor")):
                raise UsageError(f"processor of {self.name}: one with a tokenizer and an image processor is needed")
            geometry = hf.geometry_of(processor.image_processor, self.module.config.vision_config, self.name)
            known = hf.Encoder(forms[self.name], self.module, processor.tokenizer, geometry)
            return hf.as_source(known, self.reference)
        return None

    def _processor(self, such_as: str) -> Any:
        if self.told.processor is None:
            raise UsageError(f"{self.name} reads text; give what prepares it, such as processor={such_as}")
        return self.told.processor

    def geometry(self) -> tuple[Geometry, tuple[str, ...]]:
        """Return the geometry of a classifier, and a notice of assumed values."""
        options = self.options
        if all(getattr(options, name) is None for name in ("size", *USUAL)):
            if self.told.processor is not None and hasattr(self.module, "config"):
                from rate.export.sources.families import hf

                return hf.geometry_of(self.told.processor, self.module.config, self.name), ()
            if getattr(self.module, "pretrained_cfg", None):
                from rate.export.sources.families import timm

                return timm.geometry_of(self.module, self.name), ()
        if options.size is None:
            raise UsageError(f"{self.name} does not say how large its images are; add size, their side in pixels")
        return stated_geometry(options.size, options)

    def class_names(self, count: int) -> tuple[str, ...]:
        """Return the names of so many classes."""
        classes, config = self.told.classes, getattr(self.module, "config", None)
        if classes is None:
            named: dict[int, str] = getattr(config, "id2label", None) or {}
            if len(named) == count and named.get(0, _UNNAMED) != _UNNAMED:
                return tuple(named[number] for number in range(count))
            raise UsageError(f"{self.name} has {count} classes without names; give their names as classes")
        if isinstance(classes, str | Path):
            return read_classes(Path(classes), count)
        names = prompts_of(classes, None).classes
        if len(names) != count:
            raise UsageError(f"classes has {len(names)} names, {self.name} has {count} classes; one for each is needed")
        return names


class LogitsOf(nn.Module):
    """A classifier whose output has its logits [b,c] as a field, as those of transformers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the logits."""
        logits: Tensor = self.model(pixels).logits
        return logits


def _classifier(known: _Known) -> SourceModel:
    geometry, notices = known.geometry()
    tower, size = known.module, geometry.size
    try:
        with torch.inference_mode():
            logits = tower(torch.zeros(2, 3, size, size))
            if not isinstance(logits, Tensor):
                tower, logits = LogitsOf(tower), logits.logits
    except Exception as error:  # a module's forward raises whatever it raises
        raise UsageError(
            f"{known.name} cannot be run on images of {size} x {size} pixels ({first_line(error)}); expected a "
            "classifier from pixels [b,3,h,w] to logits [b,c]"
        ) from error
    if logits.ndim != 2 or len(logits) != 2 or not logits.is_floating_point():
        raise UsageError(f"{known.name} gives {tuple(logits.shape)} for 2 images; expected logits [2, classes]")
    count = logits.shape[1]
    model = SourceModel(
        family=IN_MEMORY,
        source=known.reference.text,
        config={"name": known.name},
        tower=tower,
        dim=count,
        heads=(),
        geometry=geometry,
        weights=state_digest(tower.state_dict()),
        notices=notices,
    )
    return _in_memory(model, SourceHead(HEAD, "linear", known.class_names(count), nn.Identity()))


def _in_memory(model: SourceModel, head: SourceHead) -> SourceModel:
    """Give a source its head; it is of no family, from which it could be opened again."""
    return replace(model, family=IN_MEMORY, heads=(head,))


def _prompts(told: Description) -> Prompts:
    classes, templates = told.classes, told.templates
    if isinstance(templates, str | Path):
        templates = read_templates(Path(templates))
    if isinstance(classes, str | Path):
        read = read_prompts(Path(classes), None)
        classes = dict(zip(read.classes, read.names, strict=True))
    assert classes is not None, "the caller has checked"
    return prompts_of(classes, templates)
