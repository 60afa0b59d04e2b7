"""Opens what carries a job out: the runner its settings ask for, on the first backend that passes its self-test."""

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
    """What evaluates ``job``, and any other job of this artifact with the same form of graph; the model is opened once.

    Args:
        artifact: whose graph is to run.
        job: its settings say which runner, backend and device.
        say: told why backends were passed over.

    Raises:
        UsageError: no backend can run the artifact, or what the method's own runner or `divided` refuses.
        ParityError: the backend asked for does not reproduce the source's logits.
        BackendError: the backend asked for cannot load the graph.
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
    """A runner as the settings ask for, on backends that ``opener_for`` the settings of one worker opens."""
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
