"""The plan of a bench: the backends that pass the self-test, and the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from rate.artifacts.artifact import Artifact
from rate.artifacts.parity import load_sample
from rate.backends.base import Backend
from rate.bench.settings import BenchSettings
from rate.config import ON_CUDA, Execution, Measurement
from rate.data.images.prepare import prepare
from rate.engine.choose_backend import Say, offers, open_backend, preferences
from rate.engine.job import Job, job_from_artifact, job_of_samples
from rate.engine.verdict import Head
from rate.errors import (
    BackendError,
    ConfigError,
    DataError,
    MissingExtra,
    ParityError,
    RateError,
    SampleError,
    UsageError,
)
from rate.types import Prepared, Sample

IMAGES = 64
"""The number of images of a manifest, which are repeated; their content does not change the time of a forward."""

PARITY = "parity sample"


@dataclass(frozen=True, slots=True)
class Refused:
    """A backend that was requested, or that `auto` would try, and that cannot be measured."""

    backend: str
    precision: str
    reason: str


def candidates(
    artifact: Artifact, settings: BenchSettings, stack: ExitStack, say: Say = lambda _: None
) -> tuple[list[Backend], list[Refused]]:
    """Open every requested backend and precision, those of `auto` in its order, and split them by the self-test.

    Args:
        artifact: the artifact whose graphs run.
        settings: the settings of the bench.
        stack: closes the passing backends, which are open at the return.
        say: receives what is tried.

    Raises:
        RateError: no backend passes; the message has every reason.
    """
    passed: list[Backend] = []
    refused: list[Refused] = []
    errors: list[RateError] = []
    offered = offers(artifact)
    asked = [Execution(*choice, device=settings.device) for choice in product(settings.backend, settings.precision)]
    for backend, precision in dict.fromkeys(pair for one in asked for pair in preferences(one, offered)):
        say(f"self-test of {backend} in {precision}")
        try:
            device = settings.device if backend in ON_CUDA else "auto"
            one = Execution(backend, precision, threads=settings.threads, device=device)
            passed.append(stack.enter_context(open_backend(artifact, one)))
        except (UsageError, ParityError, BackendError) as error:
            errors.append(error)
            refused.append(Refused(backend, precision, str(error).partition(";")[0]))
    refused += [
        Refused(one.backend, one.precision, f"{one.backend} does not compute in {one.precision}")
        for one in asked
        if not preferences(one, offered)
    ]
    if errors and all(isinstance(error, MissingExtra) for error in errors) and not passed:
        raise errors[-1]
    if not passed:
        reasons = "; ".join(f"{one.backend} {one.precision}: {one.reason}" for one in refused)
        raise (type(errors[-1]) if errors else ConfigError)(
            f"no backend is left to measure ({reasons}); choose another --backend or --precision, see `rate doctor`"
        )
    return passed, refused


@dataclass(frozen=True, slots=True)
class Images:
    """The images of a bench, repeated as often as needed."""

    name: str  # for display
    key: str  # identifies the images: `PARITY`, or the digest of a manifest
    heads: tuple[Head, ...]
    samples: tuple[Sample, ...]
    decode: Callable[[Sample], Prepared]

    def job(self, artifact: Artifact, measurement: Measurement, execution: Execution) -> Job:
        """Make an evaluation of ``artifact`` on these images."""
        return job_of_samples(artifact, self.samples, measurement, execution, self.heads)


def parity_images(artifact: Artifact) -> Images:
    """Return the parity images of the artifact, which need neither data nor decoding.

    Classes are numbers here, so that heads of different classes share a label.
    """
    pixels = load_sample(artifact).images
    size = artifact.geometry.size
    region = np.zeros((size, size), np.bool_)
    region[size // 4 : -(-3 * size // 4), size // 4 : -(-3 * size // 4)] = True
    samples = tuple(Sample(id=str(k), label="0", image="") for k in range(len(pixels)))
    heads = tuple(Head(head.name, tuple(map(str, range(len(head.classes))))) for head in artifact.heads)
    return Images(PARITY, PARITY, heads, samples, lambda one: Prepared(one, pixels[int(one.id)], region))


def manifest_images(artifact: Artifact, data: Path, split: str | None, say: Say = lambda _: None) -> Images:
    """Return the first `IMAGES` images of a manifest, decoded anew each time; unusable ones are skipped.

    Raises:
        DataError: the manifest cannot be used, or none of these images can.
    """
    job = job_from_artifact(artifact, data, split, Measurement(), Execution(limit=IMAGES))
    decode = partial(prepare, geometry=job.geometry)
    samples = tuple(job.samples)
    problems = {sample.id: _problem(sample, job.heads, decode) for sample in samples}
    usable = tuple(sample for sample in samples if problems[sample.id] is None)
    first = next((f"{name}: {text}" for name, text in problems.items() if text is not None), "")
    if not usable:
        raise DataError(f"none of the first {len(samples)} images of {data} can be used; {first}")
    if first:
        say(f"{len(problems) - len(usable)} of {len(problems)} images are passed over; {first}")
    return Images(f"{len(usable)} images of {data}, decoding included", job.data, job.heads, usable, decode)


def _problem(sample: Sample, heads: Iterable[Head], decode: Callable[[Sample], Prepared]) -> str | None:
    for head in heads:
        if sample.label not in head.classes:
            return f"label {sample.label!r} is not a class of head {head.name!r}"
    try:
        decode(sample)
    except SampleError as error:
        return str(error)
    return None
