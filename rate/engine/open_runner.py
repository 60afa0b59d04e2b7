"""The opening of a job's runner, on the first backend that passes its self-test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rate.artifacts.artifact import Artifact
from rate.config import Execution
from rate.engine.choose_backend import Say, open_backend
from rate.engine.engine import InProcess
from rate.engine.job import Job
from rate.engine.outcome import Runner
from rate.engine.workers.base import Opener
from rate.engine.workers.division import divided
from rate.engine.workers.pool import Pool


@contextmanager
def open_runner(artifact: Artifact, job: Job, say: Say = lambda _: None) -> Iterator[Runner]:
    """Open a runner for ``job`` and other jobs of this artifact with the same form of graph; the model is opened once.

    Args:
        artifact: the artifact whose graph runs.
        job: its settings choose runner, backend and device.
        say: receives the reason for every skipped backend.

    Raises:
        UsageError: no backend can run the artifact, or the method's own runner or `divided` refuses.
        ParityError: the named backend does not reproduce the source's logits.
        BackendError: the named backend cannot load the graph.
    """
    if job.measurement.method.runner is not None:
        yield job.measurement.method.open_own_runner(artifact, job.execution)
        return
    form = job.measurement.form
    with runner_on(lambda execution: partial(open_backend, artifact, execution, form), job.execution, say) as runner:
        yield runner


@contextmanager
def runner_on(
    opener_for: Callable[[Execution], Opener], execution: Execution, say: Say = lambda _: None
) -> Iterator[Runner]:
    """Open the runner of the settings, on backends that ``opener_for`` the settings of one worker opens."""
    with divided(execution, say) as division:
        opener = opener_for(division.execution)
        if division.make is None:
            with opener(say) as backend:
                yield InProcess(backend)
            return
        with Pool(division.make(opener), division.workers) as pool:
            for notice in pool.notices:
                say(notice)
            yield pool
