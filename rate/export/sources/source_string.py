"""The forms of a SOURCE.

timm:NAME[:FILE]              a timm model; FILE = weights, or `pretrained` to download them
open_clip:NAME[:WEIGHTS]      an open_clip model; also CONFIG.json[:WEIGHTS] and local-dir:DIR
hf:DIR_OR_ID                  a Hugging Face image-text model: CLIP, MetaCLIP 2, SigLIP, SigLIP 2, BLIP, two encoders
hf-vlm:DIR_OR_ID[:SIZE]       a generative model of Hugging Face, which answers questions: LLaVA, Qwen2-VL, Qwen2.5-VL
peft:ADAPTER_DIR[:BASE]       an adapter of the `peft` library (LoRA, ...), merged into BASE: hf:, open_clip: or openai:
albef:FILE                    a checkpoint of ALBEF, or of BLIP in its authors' layout
openai:FILE                   a CLIP state dict with OpenAI's names
reference:FILE[:RESIZE]       a checkpoint of the paper's own code: LP, FT or FLCP of CLIP, ALBEF or BLIP
wise:ALPHA:BASE,TUNED         the weights between two of these: (1 - ALPHA) BASE + ALPHA TUNED
onnx:FILE                     an ONNX model from images to logits
CHECKPOINT_DIR                a folder that `rate finetune` wrote
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from rate.errors import UsageError
from rate.plugins import Registry, of_type, require_module


@dataclass(frozen=True, slots=True)
class SourceFamily:
    """The facts of a family of models for messages and for the check of what is installed."""

    form: str  # a SOURCE of it, as messages show it
    module: str  # implements `rate.export.sources.source_model.Family`; imported when a model of it is opened
    packages: tuple[str, ...] = ()  # modules that it imports, beside torch
    extra: str = "train"  # that installs all of them
    reads_text: bool = False  # whether zero-shot heads can be made of names
    answers: bool = False  # whether its models are generative, which have no tower for heads
    is_torch: bool = True  # False: ``module`` implements `rate.export.sources.source_model.GraphFamily`


def _accept(_: str, value: object) -> SourceFamily:
    """Take the family of a plug-in."""
    family = of_type(SourceFamily, value)
    require_module(family.module)
    return family


_ROOM = "rate.export.sources.families"
FAMILIES = Registry(
    "rate.sources",
    {
        "timm": SourceFamily("timm:NAME[:FILE]", f"{_ROOM}.timm", ("timm",)),
        "open_clip": SourceFamily("open_clip:NAME[:WEIGHTS]", f"{_ROOM}.open_clip", ("open_clip",), reads_text=True),
        "hf": SourceFamily("hf:DIR_OR_ID", f"{_ROOM}.hf", ("transformers",), "hf", reads_text=True),
        "hf-vlm": SourceFamily("hf-vlm:DIR_OR_ID[:SIZE]", f"{_ROOM}.hf_vlm", ("transformers",), "hf", answers=True),
        "peft": SourceFamily(
            "peft:ADAPTER_DIR[:BASE]", f"{_ROOM}.peft", ("peft", "transformers"), "lora", reads_text=True
        ),
        # Its prompts also need transformers, which is checked when they are used.
        "albef": SourceFamily("albef:FILE", f"{_ROOM}.albef", ("timm",), reads_text=True),
        "openai": SourceFamily("openai:FILE", f"{_ROOM}.openai", ("open_clip",), reads_text=True),
        "reference": SourceFamily("reference:FILE[:RESIZE]", f"{_ROOM}.reference", ("open_clip",), reads_text=True),
        "wise": SourceFamily("wise:ALPHA:BASE,TUNED", f"{_ROOM}.wise"),  # packages and text: of the two models
        "onnx": SourceFamily("onnx:FILE", f"{_ROOM}.onnx", ("onnx",), "export", is_torch=False),
    },
    _accept,
)
"""Maps the first word of a SOURCE to the family."""

IN_MEMORY = "module"
"""The family of a module that was given in Python, which no SOURCE can name."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A SOURCE string, split on its first two colons."""

    text: str
    family: str
    name: str
    file: str | None

    @property
    def rest(self) -> str:
        """What follows the family: a path, for families whose SOURCE names one."""
        return self.name if self.file is None else f"{self.name}:{self.file}"


def parse_source(source: str) -> Reference | None:
    """Split SOURCE on its first two colons; None = a checkpoint folder.

    Raises:
        UsageError: SOURCE has no known family and is no checkpoint folder.
    """
    family, colon, rest = source.partition(":")
    if colon and family in FAMILIES:
        name, separator, file = rest.partition(":")
        if not name:
            raise UsageError(f"SOURCE {source!r} names no model; expected {FAMILIES[family].form}")
        return Reference(source, family, name, file if separator else None)
    if (Path(source) / "checkpoint.json").is_file():
        return None
    raise UsageError(_unknown(source, family if colon else ""))


def ends_of(reference: Reference) -> tuple[str, str]:
    """Split the two models of wise:ALPHA:BASE,TUNED.

    Raises:
        UsageError: there are not exactly two.
    """
    base, _, tuned = (reference.file or "").partition(",")
    if not (base and tuned) or "," in tuned:
        raise UsageError(
            f"SOURCE {reference.text!r}: expected wise:ALPHA:BASE,TUNED, two models with one comma between"
        )
    return base, tuned


def packages_of(source: str) -> dict[str, str]:
    """Map the optional modules that opening SOURCE imports to the extra that installs all of them.

    Raises:
        UsageError: as `parse_source`.
    """
    reference = parse_source(source)
    if reference is None:
        return {"torch": "train"}
    if reference.family == "wise":
        return {name: extra for end in ends_of(reference) for name, extra in packages_of(end).items()}
    family = FAMILIES[reference.family]
    return dict.fromkeys((*(["torch"] if family.is_torch else []), *family.packages), family.extra)


def has_torch(family: str) -> bool:
    """Tell whether a PyTorch model can be opened behind what was made of a family; of one not installed, too."""
    return FAMILIES[family].is_torch if family in FAMILIES else family != IN_MEMORY


def answers_questions(family: str) -> bool:
    """Tell whether the models of a family are generative."""
    return family in FAMILIES and FAMILIES[family].answers


def _unknown(source: str, family: str) -> str:
    expected = f"expected {', '.join(one.form for one in FAMILIES.values())}, or a checkpoint folder"
    if (Path(source) / "artifact.json").is_file():
        return f"SOURCE {source!r} is an artifact already: rate eval {source} DATA --out RUN"
    if Path(source).is_file() and source.endswith(".onnx"):
        return f"SOURCE {source!r} is a file: write onnx:{source}"
    if Path(source).is_file():
        held = ", ".join(FAMILIES[name].form for name in ("openai", "albef", "reference", "timm"))
        return f"SOURCE {source!r} is a file and does not say what it holds; write one of {held}"
    if (Path(source) / "adapter_config.json").is_file():
        return f"SOURCE {source!r} is an adapter of the peft library: write peft:{source}, or peft:{source}:BASE"
    if (Path(source) / "config.json").is_file():
        return f"SOURCE {source!r} is a Hugging Face folder: write hf:{source}, or hf-vlm:{source} if it generates text"
    close = difflib.get_close_matches(family or source, FAMILIES, n=1)
    meant = f"; did you mean {FAMILIES[close[0]].form}?" if close else ""
    return f"SOURCE {source!r} is neither a known kind of model nor a folder with checkpoint.json; {expected}{meant}"
