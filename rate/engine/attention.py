"""Gradient-weighted attention, the paper's explainer, on the torch model behind an artifact.

Rows, rules and files are those of any other run, so its verdicts can be compared with those of RISE on the same
samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from rate.artifacts.artifact import Artifact
from rate.backends.base import Logits
from rate.backends.process import torch_threads
from rate.engine.engine import decode_threads
from rate.engine.job import Job
from rate.engine.outcome import Explainer, Outcome, Step
from rate.engine.prefetch import Prefetch
from rate.engine.verdicts.map_verdict import EVIDENCE_KINDS, HeadEvidence, is_as_published, stored_bounds, verdict_on
from rate.engine.verdicts.prediction import Prediction, Reader
from rate.engine.verdicts.verdict import Verdict
from rate.errors import ConfigError, need
from rate.execution import Execution
from rate.kernels.relevance import bounds, upsample
from rate.kernels.saliency import Maps, evidence
from rate.runs.rows import RunStats
from rate.types import Float64, Int64, Prepared, Sample

if TYPE_CHECKING:
    from rate.export.sources.attention import Attentive

BATCH = 8
"""The largest number of images of a backward pass, which keeps the attention of every layer."""


class Attention(Explainer):
    """A runner that explains with the PyTorch model, without perturbations."""

    backend, precision = "torch", "f32"

    def __init__(self, model: Attentive) -> None:
        self._model = model

    def steps(self, job: Job, samples: Iterable[Sample]) -> Iterator[Step]:
        """See `Explainer`."""
        size, threads = job.geometry.size, job.execution.threads
        batch = min(job.execution.batch_on(self.backend), BATCH)
        reader = Reader(job.heads, job.measurement, self._model.logits(np.zeros((1, 3, size, size), np.float32)))
        source = Prefetch(samples, job.read, decode_threads(threads), 2 * batch, job.execution.io)
        with torch_threads(threads), source:
            for ready, failed, waiting_s in source.batches(batch):
                stats = RunStats(len(ready), len(ready), len(ready), waiting_s=waiting_s)
                yield Step((*failed, *(self._explained(job, reader, ready) if ready else ())), stats)

    def _explained(self, job: Job, reader: Reader, ready: list[Prepared]) -> Iterator[Outcome]:
        predictions: list[tuple[Prediction, ...]] = []

        def choose(logits: Logits) -> dict[str, Int64]:
            for i, prepared in enumerate(ready):
                clean = {name: np.nan_to_num(values[i].astype(np.float64)) for name, values in logits.items()}
                predictions.append(reader.predictions(prepared.sample, clean))
            columns = [
                [reader.column(prediction, prepared.sample) for prediction in one]
                for one, prepared in zip(predictions, ready, strict=True)
            ]
            return {head.name: np.array(columns, np.int64)[:, k] for k, head in enumerate(job.heads)}

        logits, maps = self._model.explain(
            np.stack([one.picture.pixels for one in ready]), choose, job.measurement.score
        )
        for i, prepared in enumerate(ready):
            checked = (logits,) if is_as_published(job.measurement) else (logits, maps)
            broken = [
                name for by_head in checked for name, values in by_head.items() if not np.isfinite(values[i]).all()
            ]
            if broken:
                text = f"the logits or gradients of head {broken[0]!r} are not finite (NaN or infinity)"
                yield Outcome(prepared.sample, error=text)
                continue
            verdicts = (_verdict(job, prepared, one, maps[one.head][i]) for one in predictions[i])
            yield Outcome(prepared.sample, tuple(verdicts))


def open_attention(artifact: Artifact, execution: Execution, randomized: bool = False) -> Attention:
    """Open the model behind ``artifact``; with ``randomized``, its weights are in random order.

    Raises:
        UsageError: the artifact's source is no vision transformer of torch, is missing or has changed.
        ConfigError: the settings ask for several processes or a GPU.
        MissingExtra: torch, or the library of the model, is not installed.
    """
    if execution.runner != "local" or execution.workers > 1 or execution.device.startswith("cuda"):
        raise ConfigError(
            "--saliency attention runs in one process, on the CPU; leave --workers, --runner and --device out, "
            "or use --shard"
        )
    need("torch", "train")
    from rate.export.graph.randomized import randomize
    from rate.export.sources.attention import Attentive
    from rate.export.sources.reopen import reopen

    model = reopen(artifact)
    return Attention(Attentive(randomize(model) if randomized else model))


def _verdict(job: Job, prepared: Prepared, prediction: Prediction, relevance: Float64) -> Verdict:
    if not np.isfinite(relevance).all():
        relevance = np.zeros_like(relevance)  # constant, so that nothing is left of it when it is scaled
    full = upsample(relevance[None], job.geometry.size)
    maps = Maps(full, np.zeros(1), lambda: full)
    head_evidence = HeadEvidence(
        evidence={kind: evidence(maps, kind)[0] for kind in EVIDENCE_KINDS},
        bounds=stored_bounds(bounds(prepared.region, len(relevance), prepared.ignored)),
        forwards=1,
        settled="fixed",
        as_published=is_as_published(job.measurement),
    )
    return verdict_on(head_evidence, prepared, prediction, job.measurement)
