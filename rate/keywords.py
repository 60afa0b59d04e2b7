"""Keywords of the Python form of commands: they are the fields of settings, as the options of the commands are.

The dictionaries tell editors and type checkers what notebooks see in the signatures; a test holds both together.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from rate.errors import ConfigError
from rate.reading import Reading

F = TypeVar("F", bound=Callable[..., Any])


def lists_fields(*kinds: type[Any]) -> Callable[[F], F]:
    """Let the signature of a function list the fields of ``kinds``, which are its ``**settings``, for editors.

    A field that the function has as a parameter of its own is that parameter.
    """

    def listed(function: F) -> F:
        own = inspect.signature(function)
        parameters = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
        for field in (field for kind in kinds for field in dataclasses.fields(kind)):
            if field.name in own.parameters:
                continue
            one = inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default)
            parameters.append(one.replace(annotation=field.type))
        function.__dict__["__signature__"] = own.replace(parameters=parameters)
        return function

    return listed


def divided(values: Mapping[str, Any], *kinds: type[Any]) -> list[Any]:
    """Make one object of each of ``kinds`` from those of ``values`` that are its fields."""
    names = [[field.name for field in dataclasses.fields(kind)] for kind in kinds]
    known = [name for own in names for name in own]
    if unknown := sorted(set(values) - set(known)):
        raise ConfigError(f"unknown setting {', '.join(unknown)}; there are {', '.join(known)}")
    return [
        kind(**{name: value for name, value in values.items() if name in own})
        for kind, own in zip(kinds, names, strict=True)
    ]


class ReadingKeywords(TypedDict, total=False):
    """The fields of `rate.reading.Reading`."""

    root: tuple[str, ...]
    mask_values: str | int | None
    mask_ignore: str | int | None
    mask_classes: str | Mapping[str, str | int] | None
    instances: str | None
    columns: str | Mapping[str, str] | None
    box_format: str | None
    label_names: str | Sequence[str] | None


class MeasurementKeywords(TypedDict, total=False):
    """The fields of `rate.config.Measurement`."""

    saliency: str
    verdict: str
    fill: str
    fills: int | str
    margin: float
    ramp: float
    masks: int | str | None
    min_masks: int
    max_masks: int
    confidence: float
    grid: int
    keep: tuple[float, ...] | float | None
    cells: str
    window: int | None
    stride: int | None
    evidence: str
    valid: str
    tau: float
    explain: str
    score: str
    seed: int
    pixel_path: str
    corrupt: str | None
    corrupt_seed: int


class ExecutionKeywords(TypedDict, total=False):
    """The fields of `rate.execution.Execution`."""

    backend: str
    precision: str
    batch: int
    threads: int
    io: int
    save_maps: int | str | None
    max_errors: float
    limit: int | None
    shard: str
    repair: bool
    runner: str
    workers: int
    device: str


class JudgingKeywords(TypedDict, total=False):
    """The fields of `rate.judging.Judging`."""

    crop: str | None
    size: int | None
    resize: int | None
    blur: str | None
    evidence: str
    valid: str
    tau: float
    explain: str


class ExportKeywords(TypedDict, total=False):
    """The fields of `rate.export.options.ExportOptions`, which are not parameters of `rate.export` themselves."""

    heads: tuple[str, ...]
    precision: str
    attention: str
    format: str
    plan_batch: tuple[int, ...]
    tokens: bool
    calibrate: Path | str | None
    split: str | None
    calibration_images: int
    max_flips: float
    reading: Reading
    force: bool
    size: int | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    interpolation: str | None
    crop_pct: float | None
    input: str | None
    output: str | None


class EvaluateKeywords(ReadingKeywords, MeasurementKeywords, ExecutionKeywords):
    """The settings of `rate.evaluate` and `rate.explain`."""


class JudgeKeywords(ReadingKeywords, JudgingKeywords, ExecutionKeywords):
    """The settings of `rate.judge`."""
