"""The paper's own explainer in the place of masks: gradient-weighted attention of the model that was exported.

Rows, rules and files are those of any other run, so its verdicts can be held against those of RISE on the same samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend, BackendSpec, Logits
from rate.backends.process import usable_cores
from rate.engine.job import Job
from rate.engine.pipeline import Outcome, Produce, decode_threads, read_sample
from rate.engine.prefetch import Prefetch
from rate.engine.verdict import EVIDENCE_KINDS, Found, Prediction, Reader, Verdict, verdict_on
from rate.errors import ConfigError, SampleError, UsageError, need
from rate.kernels.relevance import bounds, enlarged
from rate.kernels.saliency import Maps, evidence
from rate.kernels.separable import Perturbation
from rate.runs.store import Work
from rate.types import Float64, Int64, Prepared, Sample

if TYPE_CHECKING:
    from rate.export.sources.attention import Attentive

BATCH = 8
"""Images a backward pass at most: it holds what every layer attended to."""


@dataclass(frozen=True, slots=True)
class Gradients:
    """What a run by gradients says of itself where others name their backend."""

    name: str = "torch"
    precision: str = "f32"

    def open(self, perturbation: Perturbation, slots: int) -> AbstractContextManager[Backend]:
        """Refuse: nothing is perturbed.

        Raises:
            UsageError: always.
        """
        raise UsageError("a measurement by gradients runs no perturbed graph; use --saliency rise")


def attention_of(artifact: Artifact, job: Job, randomized: bool = False) -> tuple[BackendSpec, Produce]:
    """What measures ``job`` by gradients, in the terms of `rate.engine.pipeline`.

    ``randomized``: of the model with its weights in random order, see `rate.export.graph.randomized`.

    Raises:
        UsageError: the artifact's source is no vision transformer of torch, is gone or has changed.
        ConfigError: the work is to be shared among processes, or to be done on a GPU.
        MissingExtra: torch, or the library of the model, is not installed.
    """
    if job.execution.runner != "local" or job.execution.workers > 1 or job.execution.device.startswith("cuda"):
        raise ConfigError(
            "--saliency attention runs in one process, on the CPU; leave --workers, --runner and --device out, "
            "or use --shard"
        )
    need("torch", "train")
    from rate.export.graph.randomized import randomize
    from rate.export.sources.attention import Attentive
    from rate.export.sources.reopen import reopen

    model = reopen(artifact)
    return Gradients(), partial(_outcomes, Attentive(randomize(model) if randomized else model))


def _outcomes(
    model: Attentive,
    job: Job,
    spec: BackendSpec,
    todo: Iterable[Sample],
    work: Work,
    tick: Callable[[Work], None] = lambda _: None,
) -> Iterator[Outcome]:
    """As `rate.engine.pipeline.outcomes`."""
    size, batch = job.geometry.size, min(job.execution.batch, BATCH)
    reader = Reader(job.heads, job.measurement, model.logits(np.zeros((1, 3, size, size), np.float32)))
    read = partial(read_sample, job, job.decode)
    with (
        _torch_threads(job.execution.threads),
        Prefetch(todo, read, decode_threads(job.execution.threads), 2 * batch) as source,
    ):
        ready: list[Prepared] = []
        while (item := source.next()) is not None:
            work.waiting_s = source.waited_s
            sample, prepared = item
            if isinstance(prepared, SampleError):
                yield sample, prepared
                continue
            ready.append(prepared)
            if len(ready) == batch:
                yield from _explained(model, job, reader, ready, work)
                tick(work)
                ready = []
        if ready:
            yield from _explained(model, job, reader, ready, work)


def _explained(model: Attentive, job: Job, reader: Reader, ready: list[Prepared], work: Work) -> Iterator[Outcome]:
    predictions: list[tuple[Prediction, ...]] = []

    def choose(logits: Logits) -> dict[str, Int64]:
        for i, prepared in enumerate(ready):
            clean = {name: np.nan_to_num(values[i].astype(np.float64)) for name, values in logits.items()}
            predictions.append(reader.predictions(prepared.sample, clean))
        columns = [[reader.column(prediction) for prediction in one] for one in predictions]
        return {head.name: np.array(columns, np.int64)[:, k] for k, head in enumerate(job.heads)}

    logits, maps = model.explain(np.stack([one.pixels for one in ready]), choose, job.measurement.score)
    for count in ("forwards", "used", "rows"):
        setattr(work, count, getattr(work, count) + len(ready))
    for i, prepared in enumerate(ready):
        broken = [name for name, values in logits.items() if not np.isfinite(values[i]).all()]
        broken = broken or [name for name, values in maps.items() if not np.isfinite(values[i]).all()]
        if broken:
            text = f"the logits or gradients of head {broken[0]!r} are not finite (NaN or infinity)"
            yield prepared.sample, SampleError(text)
            continue
        yield prepared.sample, [_verdict(job, prepared, one, maps[one.head][i]) for one in predictions[i]]


def _verdict(job: Job, prepared: Prepared, prediction: Prediction, relevance: Float64) -> Verdict:
    full = enlarged(relevance[None], job.geometry.size)
    maps = Maps(saliency=full, signal=full)
    found = Found(
        evidence={kind: evidence(maps, kind)[0] for kind in EVIDENCE_KINDS},
        bounds=bounds(prepared.region, len(relevance)),
        forwards=1,
        settled="fixed",
    )
    return verdict_on(found, prepared, prediction, job.measurement)


@contextmanager
def _torch_threads(wanted: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(wanted or usable_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)
