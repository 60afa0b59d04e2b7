"""`--format tensorrt`: an export that ends in a plan, or a plan for an artifact that is there already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rate.artifacts.artifact import ARTIFACT, Artifact, load_artifact
from rate.backends.tensorrt.device_memory import open_device
from rate.backends.tensorrt.library import load_tensorrt
from rate.errors import ConfigError, UsageError
from rate.export.options import ExportOptions
from rate.export.tensorrt.build import build_plan
from rate.export.tensorrt.progress import Observe

Make = Callable[[Path], Artifact]
"""Exports SOURCE to a folder."""


def add_plan(
    source: str,
    out: Path | None,
    options: ExportOptions,
    make: Make,
    notify: Callable[[str], None],
    observe: Observe,
) -> Artifact:
    """Make the artifact, and build its plan where ``options`` ask for one; into SOURCE itself where it is an artifact.

    Raises:
        UsageError: TensorRT or a GPU is missing, found out before any work; or ``out`` does not go with ``source``.
        RateError: the artifact cannot be made, or its plan cannot be built; the artifact is then whole without it.
    """
    planning = options.format == "tensorrt"
    into = Path(source) if planning and (Path(source) / ARTIFACT).is_file() else None
    if into is not None and out is not None:
        raise UsageError(f"{into} is an artifact, and its plan is built into it; leave --out {out} out")
    if planning:
        open_device()
        load_tensorrt()
    if into is not None:
        whole = load_artifact(into)
    elif out is not None:
        whole = make(out)
    else:
        raise ConfigError("--out is missing: it names the artifact folder to write")
    if planning:
        build_plan(whole, options.precision, options.plan_batch, notify, observe, options.force)
    return whole
