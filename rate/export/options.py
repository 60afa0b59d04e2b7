"""The options of `export`, checked before any work."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from rate.errors import ConfigError, UsageError
from rate.execution import GPU_BATCH
from rate.files import read_text
from rate.option import Settings, option, separated
from rate.reading import USUAL, Reading

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
PLAN_BATCH = (64, GPU_BATCH)
"""The batch sizes of a plan: the usual one of a GPU, and a quarter of it, which takes less memory."""

HEAD_FORMS = {
    "linear": "linear:CHECKPOINT_DIR",
    "zero-shot": "zero-shot:CLASSES[:TEMPLATES]",
    "embeddings": "embeddings:FILE[:CLASSES]",
}
"""What a further head may be, after its name and `=`."""

_GEOMETRY = ("size", "mean", "std", "interpolation", "crop_pct", "input", "output")


INT8, _BARE = "int8 only", "Bare ONNX models only"
_CHANNELS = "three numbers such as 0.485,0.456,0.406"


@dataclass(frozen=True, slots=True)
class ExportOptions(Settings):
    """Options of an export. The last group describes a bare ONNX model; other sources define these themselves."""

    classes: Path | None = option(None, "Class names, one a line, in the order of the logits.")
    templates: Path | None = option(None, 'Prompt templates, one a line, each with {}; "a photo of a {}" if not given.')
    heads: tuple[str, ...] = ()  # further heads, as in `HEAD_FORMS`
    precision: str = option(
        "auto",
        "A graph in that precision beside the f32 one",
        choices={
            "f32": "",
            "fp16": "a GPU",
            "bf16": "a GPU",
            "int8": "",
            "auto": "fp16 with --format tensorrt, else f32",
        },
    )
    attention: str = option(
        "auto",
        "Form of attention in a graph in fp16 or bf16",
        choices={
            "auto": "the fastest that passes the proof",
            "operation": "one operation of opset 23",
            "half": "a softmax in half",
            "f32": "a softmax in f32",
        },
    )
    format: str = option("onnx", choices={"onnx": "", "tensorrt": "also a plan for the GPU of this machine"})
    plan_batch: tuple[int, ...] = option(
        PLAN_BATCH,
        "Rows a forward that the plan is built for: 8,32",
        panel="TensorRT only",
        parse=separated(int),
        expected="whole numbers separated by commas, as 8,32",
    )
    tokens: bool = option(False, "Also the form that drops patches (plain ViTs), for rise-tokens.")
    calibrate: Path | str | None = option(None, "Manifest of images like those to evaluate.", panel=INT8)
    split: str | None = option(None, "Only its rows of this split.", panel=INT8)
    calibration_images: int = option(300, "Images at most.", within=(1, 1_000_000), panel=INT8)
    max_flips: float = option(0.02, "Largest share of verdicts or predictions it may change.", panel=INT8)
    reading: Reading = USUAL  # how the manifest of ``calibrate`` is read
    force: bool = option(False, "Replace an artifact that exists.")
    size: int | None = option(None, "Side of the square input, pixels.", panel=_BARE)
    mean: tuple[float, ...] | None = option(
        None, "Channel means: R,G,B.", panel=_BARE, parse=separated(float), expected=_CHANNELS
    )
    std: tuple[float, ...] | None = option(
        None, "Channel deviations: R,G,B.", panel=_BARE, parse=separated(float), expected=_CHANNELS
    )
    interpolation: str | None = option(None, "bicubic | bilinear", panel=_BARE)
    crop_pct: float | None = option(None, "size / resize, in (0, 1].", panel=_BARE)
    input: str | None = option(None, "Name of the image input.", panel=_BARE)
    output: str | None = option(None, "Name of the logits.", panel=_BARE)

    def __post_init__(self) -> None:
        self.check_options()
        if self.precision == "auto":
            object.__setattr__(self, "precision", "fp16" if self.format == "tensorrt" else "f32")
        self._check_int8()
        self._check_half()
        self._check_plan()
        if self.crop_pct is not None and not (math.isfinite(self.crop_pct) and 0.0 < self.crop_pct <= 1.0):
            raise ConfigError(f"--crop-pct must lie in (0, 1], got {self.crop_pct}; 0.875 is usual")
        for flag, values in (("--mean", self.mean), ("--std", self.std)):
            if values is not None and len(values) != 3:
                raise ConfigError(f"{flag} needs three numbers, one a channel, got {list(values)}")

    def _check_plan(self) -> None:
        if self.format == "tensorrt" and self.precision == "int8":
            raise ConfigError("--format tensorrt builds plans in f32, fp16 and bf16; int8 is for OpenVINO alone")
        wrong = [rows for rows in self.plan_batch if isinstance(rows, bool) or not 1 <= rows <= 4096]
        if wrong or not self.plan_batch:
            raise ConfigError(f"--plan-batch must be numbers of rows from 1 to 4096, got {list(self.plan_batch)}")
        if self.format != "tensorrt" and self.plan_batch != PLAN_BATCH:
            raise ConfigError("--plan-batch is for --format tensorrt; leave it out, or add it")

    def _check_half(self) -> None:
        if self.attention != "auto" and self.precision not in ("fp16", "bf16"):
            raise ConfigError(
                f"--attention {self.attention} is for --precision fp16 and bf16; leave it out, or add one"
            )

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms of attention to try, in order."""
        return ("operation", "half", "f32") if self.attention == "auto" else (self.attention,)

    def _check_int8(self) -> None:
        if self.precision == "int8" and self.calibrate is None:
            raise ConfigError(
                "--precision int8 needs --calibrate MANIFEST: images like those that the model will be evaluated on"
            )
        if self.precision != "int8" and (self.calibrate is not None or self.split is not None):
            raise ConfigError("--calibrate and --split are for --precision int8; leave them out, or add it")
        if self.precision != "int8" and (said := self.reading.to_json()):
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in said)
            raise ConfigError(f"{flags}: say how --calibrate is read, for --precision int8; leave them out, or add it")
        if not 0.0 <= self.max_flips <= 1.0:
            raise ConfigError(f"--max-flips must be a share from 0 to 1, got {self.max_flips}; the default is 0.02")

    def refuse_graph_options(self, family: str) -> None:
        """Refuse options of bare ONNX models for a source that defines its own geometry.

        Raises:
            ConfigError: one of them is set.
        """
        given = [name for name in _GEOMETRY if getattr(self, name) is not None]
        if given:
            flags = ", ".join("--" + name.replace("_", "-") for name in given)
            raise ConfigError(f"{flags}: only for onnx: sources; a {family} source defines its own input, leave it out")


@dataclass(frozen=True, slots=True)
class HeadRequest:
    """A request for a further head on the source's tower."""

    name: str
    kind: str  # "linear" | "zero-shot" | "embeddings"
    path: Path  # linear: checkpoint folder; zero-shot: file with the classes; embeddings: file with the vectors
    beside: Path | None = None  # zero-shot: file with prompt templates; embeddings: file with the classes of the rows


def parse_head(text: str) -> HeadRequest:
    """Parse one of `HEAD_FORMS`.

    Raises:
        UsageError: the text has another form.
    """
    name, equals, rest = text.partition("=")
    kind, colon, path = rest.partition(":")
    if not (equals and colon and path) or kind not in HEAD_FORMS:
        forms = " or ".join(f"NAME={form}" for form in HEAD_FORMS.values())
        raise UsageError(f"--head {text!r}: expected {forms}, such as lp=linear:checkpoints/lp")
    check_head_name(name)
    if kind == "linear":
        return HeadRequest(name, kind, Path(path))
    file, _, beside = path.partition(":")
    return HeadRequest(name, kind, Path(file), Path(beside) if beside else None)


def check_head_name(name: str) -> None:
    """Refuse a head name that cannot be part of an output's name or of RUN@HEAD.

    Raises:
        UsageError: the message has the allowed characters.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"head name {name!r}: letters, digits, '_', '.' and '-' only, starting with a letter or digit")


def read_classes(path: Path, count: int | None) -> tuple[str, ...]:
    """Read class names from a text file, one per line, in the order of the logits.

    Args:
        path: UTF-8; empty lines at the end are ignored.
        count: the expected number; None = any number from 2 on.

    Raises:
        UsageError: the file cannot be read, a line is empty or repeats, or the number differs.
    """
    try:
        lines = read_text(path).rstrip().splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--classes {path} cannot be read ({error}); give a UTF-8 text file, one class a line"
        ) from error
    names = tuple(line.strip() for line in lines)
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise UsageError(f"--classes {path}: line {number} is empty; one class a line")
        if first.setdefault(name, number) != number:
            raise UsageError(
                f"--classes {path}: {name!r} is on lines {first[name]} and {number}; class names must differ"
            )
    if count is not None and len(names) != count:
        raise UsageError(f"--classes {path} has {len(names)} names, the model has {count} classes; one line for each")
    if len(names) < 2:
        raise UsageError(f"--classes {path} has {len(names)} names; at least 2 are needed, one a line")
    return names
