"""The plan of a bench: the backends that pass the self-test, and the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain, product
from pathlib import Path

import numpy as np

from rate.artifacts.artifact import Artifact
from rate.artifacts.parity_sample import load_sample
from rate.backends.base import Backend
from rate.bench.settings import BenchSettings
from rate.config import Measurement
from rate.engine.choose_backend import Say, offers, on_one_gpu, open_backend, preferences
from rate.engine.job import Job
from rate.engine.make_job import job_from_artifact, job_of_samples
from rate.engine.verdicts.prediction import Head
from rate.errors import BackendError, DataError, MissingExtra, ParityError, RateError, SampleError, UsageError
from rate.execution import ON_CUDA, Execution
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


@contextmanager
def open_candidates(
    artifact: Artifact, settings: BenchSettings, say: Say = lambda _: None
) -> Iterator[tuple[list[Backend], tuple[Refused, ...]]]:
    """Open every requested backend and precision, those of `auto` in its order, and split them by the self-test.

    Raises:
        RateError: no backend passes; the message has every reason.
    """
    artifact.refuse_questions("bench", "`rate eval --dry-run` says what a run costs")
    passed: list[Backend] = []
    failed: dict[Refused, RateError] = {}
    offered = offers(artifact)
    choices = product(settings.backend, settings.precision)
    on = on_one_gpu(Execution(device=settings.device), say).device
    pairs = (preferences(Execution(*choice, device=on), offered) or [choice] for choice in choices)
    with ExitStack() as stack:
        for backend, precision in dict.fromkeys(chain.from_iterable(pairs)):
            say(f"self-test of {backend} in {precision}")
            device = on if backend in ON_CUDA else "auto"
            execution = Execution(backend, precision, threads=settings.threads, device=device)
            try:
                passed.append(stack.enter_context(open_backend(artifact, execution)))
            except (UsageError, ParityError, BackendError) as error:
                failed[Refused(backend, precision, str(error).partition(";")[0])] = error
        if not passed:
            raise _none_left(failed)
        yield passed, tuple(failed)


def _none_left(failed: dict[Refused, RateError]) -> RateError:
    *_, last = failed.values()
    if all(isinstance(error, MissingExtra) for error in failed.values()):
        return last
    reasons = "; ".join(f"{one.backend} {one.precision}: {one.reason}" for one in failed)
    return type(last)(
        f"no backend is left to measure ({reasons}); choose another --backend or --precision, see `rate doctor`"
    )


@dataclass(frozen=True, slots=True)
class Images:
    """The images of a bench, repeated as often as needed."""

    name: str  # for display
    job: Job  # an evaluation of them, whose ``data`` identifies them: `PARITY`, or the digest of a manifest
    decode: Callable[[Sample], Prepared]


def parity_images(artifact: Artifact) -> Images:
    """Return the parity images of the artifact, which need neither data nor decoding.

    Classes are numbers here, so that heads of different classes share a label.
    """
    pictures = load_sample(artifact).pictures[:-1]  # the last one is of the mean colour, of which a mask hides nothing
    size = artifact.geometry.size
    region = np.zeros((size, size), np.bool_)
    region[size // 4 : -(-3 * size // 4), size // 4 : -(-3 * size // 4)] = True
    samples = tuple(Sample(id=str(k), label="0", image="") for k in range(len(pictures)))
    heads = tuple(Head(head.name, tuple(map(str, range(len(head.classes))))) for head in artifact.heads)
    job = replace(job_of_samples(artifact, samples, Measurement(verdict="map"), Execution(), heads), data=PARITY)
    return Images(PARITY, job, lambda one: Prepared(one, pictures[int(one.id)], region))


def manifest_images(artifact: Artifact, data: Path, split: str | None, say: Say = lambda _: None) -> Images:
    """Return the first `IMAGES` images of a manifest, decoded anew each time; unusable ones are skipped.

    Raises:
        DataError: the manifest cannot be used, or none of these images can.
    """
    job = job_from_artifact(artifact, data, split, Measurement(verdict="map"), Execution(limit=IMAGES))
    usable: list[Sample] = []
    problems: list[str] = []
    for sample in job.samples:
        try:
            usable.append(job.read(sample).sample)
        except SampleError as error:
            problems.append(f"{sample.id}: {error}")
    if not usable:
        raise DataError(f"none of the first {len(problems)} images of {data} can be used; {problems[0]}")
    if problems:
        say(f"{len(problems)} of {len(job.samples)} images are passed over; {problems[0]}")
    name = f"{len(usable)} images of {data}, decoding included"
    return Images(name, replace(job, samples=tuple(usable)), job.decode)
