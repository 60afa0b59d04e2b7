"""The forms of a SOURCE.

timm:NAME[:FILE]              a timm model; FILE = weights, or `pretrained` to download them
open_clip:NAME[:WEIGHTS]      an open_clip model; also CONFIG.json[:WEIGHTS] and local-dir:DIR
hf:DIR_OR_ID                  a Hugging Face image-text model: CLIP, SigLIP, SigLIP 2, BLIP
albef:FILE                    a checkpoint of ALBEF, or of BLIP in its authors' layout
openai:FILE                   a CLIP state dict with OpenAI's names
reference:FILE[:RESIZE]       a checkpoint of the paper's own code: LP, FT or FLCP of CLIP, ALBEF or BLIP
onnx:FILE                     an ONNX model from images to logits
CHECKPOINT_DIR                a folder that `rate finetune` wrote
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from rate.errors import UsageError

FORMS = {
    "timm": "timm:NAME[:FILE]",
    "open_clip": "open_clip:NAME[:WEIGHTS]",
    "hf": "hf:DIR_OR_ID",
    "albef": "albef:FILE",
    "openai": "openai:FILE",
    "reference": "reference:FILE[:RESIZE]",
    "onnx": "onnx:FILE",
}

_PACKAGES = {
    "timm": ("timm",),
    "open_clip": ("open_clip",),
    "hf": ("transformers",),
    "albef": ("timm",),
    "openai": ("open_clip",),
    "reference": ("open_clip",),
}
"""Packages of each family beside torch.

Prompts of ALBEF also need transformers, which is checked when they are used.
"""


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
    if family in FORMS and colon:
        name, separator, file = rest.partition(":")
        if not name:
            raise UsageError(f"SOURCE {source!r} names no model; expected {FORMS[family]}")
        return Reference(source, family, name, file if separator else None)
    if (Path(source) / "checkpoint.json").is_file():
        return None
    raise UsageError(_unknown(source, family if colon else ""))


def packages_of(source: str) -> dict[str, str]:
    """Map the optional modules that opening SOURCE imports to the extra that installs all of them.

    Raises:
        UsageError: as `parse_source`.
    """
    reference = parse_source(source)
    family = "" if reference is None else reference.family
    if family == "onnx":
        return {"onnx": "export"}
    return dict.fromkeys(("torch", *_PACKAGES.get(family, ())), "hf" if family == "hf" else "train")


def _unknown(source: str, family: str) -> str:
    expected = f"expected {', '.join(FORMS.values())}, or a checkpoint folder"
    if (Path(source) / "artifact.json").is_file():
        return f"SOURCE {source!r} is an artifact already: rate eval {source} DATA --out RUN"
    if Path(source).is_file() and source.endswith(".onnx"):
        return f"SOURCE {source!r} is a file: write onnx:{source}"
    if Path(source).is_file():
        held = ", ".join(FORMS[name] for name in ("openai", "albef", "reference", "timm"))
        return f"SOURCE {source!r} is a file and does not say what it holds; write one of {held}"
    if (Path(source) / "config.json").is_file():
        return f"SOURCE {source!r} is a Hugging Face folder: write hf:{source}"
    close = difflib.get_close_matches(family or source, FORMS, n=1)
    meant = f"; did you mean {FORMS[close[0]]}?" if close else ""
    return f"SOURCE {source!r} is neither a known kind of model nor a folder with checkpoint.json; {expected}{meant}"
