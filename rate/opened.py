"""Models that are evaluated again and again: an artifact in a service, or a module while it is trained."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from rate.artifacts.artifact import load_artifact
from rate.config import Measurement
from rate.engine.choose_backend import Say
from rate.engine.evaluate import Observe, Progress, evaluate
from rate.engine.job import Job
from rate.engine.make_job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.engine.outcome import Runner
from rate.execution import Execution
from rate.keywords import EvaluateKeywords, divided, lists_fields
from rate.reading import Reading
from rate.runs.remote import run_for_writing
from rate.runs.summary.summarise import Summary

if TYPE_CHECKING:
    from torch import nn

    from rate.export.options import ExportOptions
    from rate.export.sources.in_memory import Description

Watch = Callable[[Progress], None] | bool
"""Receives the progress after every batch; True: it is shown as a bar, or in a notebook as a line that changes."""

_OPENING = ("backend", "precision", "threads", "device", "workers", "runner")
"""The settings with which a model is loaded."""


class Opened:
    """An artifact that is evaluated again and again; `rate.open` makes it.

    The model is loaded by the first evaluation, and again only by one that needs another runtime, device or form of the
    graph, or that follows an error. `close` frees it, as does the end of a ``with`` statement.
    """

    def __init__(self, artifact: str | Path) -> None:
        self.artifact = load_artifact(artifact)
        self._stack = ExitStack()
        self._runner: tuple[tuple[object, ...], Runner] | None = None
        self._say: Say = logging.getLogger("rate").warning

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the model; a later evaluation loads it again."""
        self._runner = None
        self._stack.close()

    @lists_fields(Reading, Measurement, Execution)
    def evaluate(
        self,
        data: str | Path,
        out: str | Path | None = None,
        *,
        split: str | None = None,
        progress: Watch = False,
        **settings: Unpack[EvaluateKeywords],
    ) -> Summary:
        """Evaluate the artifact on a data set; see `rate.evaluate`."""
        execution, measurement, reading = divided(settings, Execution, Measurement, Reading)
        job = job_from_artifact(self.artifact, data, split, measurement, execution, reading)
        try:
            return carried_out(job, lambda say: nullcontext(self._runner_for(job, say)), out, progress)
        except BaseException:  # a runner that was stopped midway is not used again
            self.close()
            raise

    def _runner_for(self, job: Job, say: Say) -> Runner:
        self._say = say  # what the runner says belongs to the evaluation that it is at work on
        own = job.measurement.saliency if job.measurement.method.runner is not None else None
        wanted = (job.measurement.form, own, *(getattr(job.execution, name) for name in _OPENING))
        if self._runner is not None and self._runner[0] != wanted:
            self.close()
        if self._runner is None:
            opening = open_runner(self.artifact, job, lambda text: self._say(text))
            self._runner = wanted, self._stack.enter_context(opening)
        return self._runner[1]


class OpenedModule:
    """A PyTorch module that is evaluated as it is at each call, such as one that is being trained; see `rate.open`."""

    def __init__(self, module: nn.Module, told: Description, options: ExportOptions) -> None:
        self.module, self._told, self._options = module, told, options

    @lists_fields(Reading, Measurement, Execution)
    def evaluate(
        self,
        data: str | Path,
        out: str | Path | None = None,
        *,
        split: str | None = None,
        progress: Watch = False,
        **settings: Unpack[EvaluateKeywords],
    ) -> Summary:
        """Evaluate a copy of the module's weights of this moment on a data set; see `rate.evaluate`.

        A backend other than torch, a precision other than f32 and more than one worker are refused.
        """
        from rate.engine.live import LiveModel

        execution, measurement, reading = divided(settings, Execution, Measurement, Reading)
        model = LiveModel.of(self.module, self._told, self._options)
        model.check(measurement)
        read = job_from_artifact(model, data, split, measurement, model.execution(execution), reading)
        job = dataclasses.replace(read, notices=model.model.notices + read.notices)
        return carried_out(job, lambda say: model.open_runner(job, say), out, progress)


def carried_out(
    job: Job,
    opening: Callable[[Say], AbstractContextManager[Runner]],
    out: str | Path | None,
    progress: Watch,
) -> Summary:
    """Evaluate a job with the runner that is opened for it; see `rate.evaluate`."""
    if out is None:  # nobody would see the maps
        job = dataclasses.replace(job, execution=dataclasses.replace(job.execution, save_maps=0))
    notices: list[str] = []

    def say(text: str) -> None:
        notices.append(text)
        logging.getLogger("rate").warning(text)

    for text in job.notices:
        say(text)
    with (
        tempfile.TemporaryDirectory(prefix="rate-") as temporary,
        run_for_writing(Path(temporary) / "run" if out is None else out) as folder,
        opening(say) as runner,
        _watched(progress, len(job.samples)) as observe,
    ):
        summary = evaluate(job, runner, folder, observe)
    for text in summary.notices:
        say(text)
    return dataclasses.replace(summary, notices=tuple(notices))


def _watched(progress: Watch, total: int) -> AbstractContextManager[Observe]:
    if progress is True:
        from rate.engine.progress_bar import progress_bar

        return progress_bar(total)
    return nullcontext(progress or (lambda now: None))
