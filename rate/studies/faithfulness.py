"""The faithfulness of a run's maps: deletion, insertion, pointing, and a randomised model.

It is measured on some samples of a finished run, with the maps of its rows.
"""

from __future__ import annotations

import heapq
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend
from rate.backends.batches import clean_rows
from rate.data.digests import fingerprint
from rate.engine.choose_backend import for_reference, open_backend
from rate.engine.engine import InProcess
from rate.engine.job import Job
from rate.engine.outcome import Explainer, Outcome
from rate.engine.verdicts.prediction import Prediction
from rate.engine.verdicts.rows import map_from_verdict
from rate.engine.verdicts.verdict import Verdict
from rate.errors import ConfigError
from rate.export.graph.randomized import randomized_artifact
from rate.kernels.faithfulness import STEPS, area_under_curve, kept_pixels, pixel_order, random_order
from rate.kernels.score import softmax
from rate.kernels.separable import rise
from rate.records import record, write
from rate.runs.summary.document import BesideUniform
from rate.runs.summary.faithfulness import FAITHFULNESS, FaithfulHead, FaithfulMean, FaithfulnessDocument
from rate.runs.summary.summarise import ratio_json
from rate.statistics.intervals import Z95
from rate.statistics.metrics import Ratio, rank_correlation
from rate.types import INSIDE, Float64, Int64, Picture, Sample

CURVES = ("deletion", "insertion", "random")


def explained(explainer: Explainer, job: Job) -> Iterator[Outcome]:
    """Yield every sample of ``job`` with its verdicts or its error."""
    return (outcome for step in explainer.steps(job, job.samples) for outcome in step.outcomes)


@dataclass(slots=True)
class HeadScores:
    """The measures of one head, one value per sample."""

    areas: list[tuple[float, ...]] = field(default_factory=list)  # areas under CURVES of each sample
    pointing: list[bool] = field(default_factory=list)  # whether the map's maximum lies in the region
    uniform: list[float] = field(default_factory=list)  # area of that region
    correlation: list[float] = field(default_factory=list)  # of the maps of the model and of its randomised form
    skipped: int = 0  # number of samples without a map or without finite scores

    @property
    def document(self) -> FaithfulHead:
        """The head's entry in faithfulness.json."""
        deletion, insertion, random = np.array(self.areas).reshape(-1, len(CURVES)).T
        pointing = ratio_json(Ratio(sum(self.pointing), len(self.pointing)))
        return FaithfulHead(
            samples=len(self.areas),
            skipped=self.skipped,
            deletion=_mean(deletion),
            insertion=_mean(insertion),
            random=_mean(random),
            deletion_below_random=_mean(random - deletion),
            insertion_above_random=_mean(insertion - random),
            pointing=record(BesideUniform, pointing | {"uniform": _mean(np.array(self.uniform)).value}),
            randomized_model=_mean(np.array(self.correlation)),
        )


def samples_for(share: float, job: Job) -> int:
    """Compute the number of a job's samples for ``share``: below 1 it is a share of them, from 1 on a number.

    Raises:
        ConfigError: the value is neither, or the model is generative.
    """
    if job.asks:
        raise ConfigError(
            "--faithfulness compares with a model of shuffled weights, of which a generative one has none"
        )
    whole = share >= 1 and share == int(share) if math.isfinite(share) else False
    if not (whole or 0 < share < 1):
        raise ConfigError(f"--faithfulness must be a share below 1 or a whole number of samples, got {share:g}")
    count = int(share) if whole else math.ceil(share * len(job.samples))
    return min(count, len(job.samples))


def measure_faithfulness(
    job: Job,
    model: Explainer,
    randomized: Explainer,
    pixels: Backend,
    samples: int,
    observe: Callable[[int], None] = lambda done: None,
) -> dict[str, HeadScores]:
    """Measure deletion, insertion, pointing game and model randomisation of every head.

    Args:
        job: the job of the run.
        model: the measurement of the run.
        randomized: the same measurement on a model with shuffled weights; it may explain its own predictions.
        pixels: a backend with the model's pixel graph, for images that no mask can make.
        samples: the number of samples; the selection is independent of the order of the data.
        observe: receives the number of finished samples; each counts twice, once per model.

    Raises:
        BackendError: a runtime failed.
    """
    job = job.of_map
    chosen = tuple(heapq.nsmallest(samples, job.samples, key=lambda sample: fingerprint(sample.id)))
    again = replace(job, samples=chosen, available=len(chosen))
    scores_by_head = {head.name: HeadScores() for head in job.heads}
    maps: dict[tuple[str, str], Float64] = {}
    curves = Curves(job, pixels)
    for done, outcome in enumerate(explained(model, again), 1):
        verdicts = _with_maps(outcome.verdicts)
        for name in scores_by_head.keys() - {verdict.prediction.head for verdict in verdicts}:
            scores_by_head[name].skipped += 1
        for verdict, areas in zip(verdicts, curves.areas(outcome.sample, verdicts), strict=True):
            maps[outcome.sample.id, verdict.prediction.head] = _coarse(verdict)
            _take(scores_by_head[verdict.prediction.head], verdict, areas)
        observe(done)
    for done, outcome in enumerate(explained(randomized, again), len(chosen) + 1):
        for verdict in outcome.verdicts:
            own = maps.get((outcome.sample.id, verdict.prediction.head))
            value = None if own is None else rank_correlation(own, _coarse(verdict))
            if value is not None:
                scores_by_head[verdict.prediction.head].correlation.append(value)
        observe(done)
    return scores_by_head


def check_faithfulness(
    artifact: Artifact, job: Job, run: Path, samples: int, observe: Callable[[int], None] = lambda done: None
) -> FaithfulnessDocument:
    """Measure the faithfulness of a finished ``run`` of ``artifact``, write faithfulness.json there, and return its
    content.

    Raises:
        UsageError: a runtime or library is missing, or the model cannot be randomised.
        BackendError: a runtime failed.
        StorageError: the result cannot be written.
    """
    job = job.of_map
    form, execution = job.measurement.form, job.execution.in_one_process
    own: Explainer
    other: Explainer
    with tempfile.TemporaryDirectory(prefix="rate-") as folder, ExitStack() as stack:
        pixels = stack.enter_context(open_backend(artifact, execution))
        method = job.measurement.method
        if method.runner is not None:
            own, other = (method.open_own_runner(artifact, execution, randomized) for randomized in (False, True))
        else:
            shuffled = randomized_artifact(artifact, Path(folder), form)
            own = InProcess(stack.enter_context(open_backend(artifact, execution, form)))
            other = InProcess(stack.enter_context(open_backend(shuffled, for_reference(shuffled, execution), form)))
        return write_faithfulness(run, measure_faithfulness(job, own, other, pixels, samples, observe))


def write_faithfulness(run: Path, scores_by_head: dict[str, HeadScores]) -> FaithfulnessDocument:
    """Write faithfulness.json into a run folder, and return its content.

    Raises:
        StorageError: it cannot be written.
    """
    document = FaithfulnessDocument(heads={name: one.document for name, one in scores_by_head.items()})
    write(run / FAITHFULNESS, document)
    return document


def _with_maps(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Select the verdicts whose map has evidence; the region need not allow a verdict."""
    return [one for one in verdicts if one.reason != "no-evidence" and one.saliency.evidence.any()]


def _take(head_scores: HeadScores, verdict: Verdict, areas: tuple[float, ...]) -> None:
    if not all(map(math.isfinite, areas)):
        head_scores.skipped += 1
        return
    head_scores.areas.append(areas)
    if 0.0 < verdict.area < 1.0:
        first = pixel_order(verdict.saliency.evidence, verdict.sample.id)[0]
        head_scores.pointing.append(bool(verdict.region.ravel()[first]))
        head_scores.uniform.append(verdict.area)


def _coarse(verdict: Verdict) -> Float64:
    """Return the map at the resolution of a saved map, flattened."""
    return np.frombuffer(map_from_verdict(verdict)["map"], np.float16).astype(np.float64)


def _mean(values: Float64) -> FaithfulMean:
    """Compute the mean with its 95 % interval over samples, by the normal approximation."""
    if not len(values):
        return FaithfulMean(None, None, None, 0)
    mean = float(values.mean())
    half = Z95 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return FaithfulMean(mean, low, high, len(values))


class Curves:
    """Scores of images with removed pixels."""

    def __init__(self, job: Job, backend: Backend) -> None:
        """Take an open ``backend`` with the pixel graph."""
        batch, size = job.execution.batch_on(backend.name), job.geometry.size
        perturbation = rise(size, min(7, size))
        backend.bind(perturbation, batch + 1)  # the last slot is the mean colour, which stands for removed pixels
        self._decode, self._backend, self._batch = job.decode, backend, batch
        clean = clean_rows(perturbation, np.arange(batch))
        self._rows = replace(clean, fill=np.full(batch, batch), side=np.full(batch, INSIDE))
        self._columns = {head.name: head.classes.index for head in job.heads}

    def areas(self, sample: Sample, verdicts: Sequence[Verdict]) -> Iterator[tuple[float, ...]]:
        """Yield the areas of `CURVES` for each verdict on ``sample``; they are not finite where the model's logits are
        not.
        """
        if not verdicts:
            return
        image = self._decode(sample).picture
        chance = random_order(f"random {sample.id}", image.levels[0].size)
        for verdict in verdicts:
            order = pixel_order(verdict.saliency.evidence, sample.id)
            orders = (order, False), (order, True), (chance, False)
            steps = ((*one, step) for one in orders for step in range(STEPS + 1))
            scores = self._scores(image, list(steps), verdict.prediction)
            yield tuple(area_under_curve(curve) for curve in scores.reshape(len(CURVES), STEPS + 1))

    def _scores(self, image: Picture, steps: list[tuple[Int64, bool, int]], prediction: Prediction) -> Float64:
        """Compute the probability of the explained class for every (order, keep, step) of `kept_pixels`."""
        column = self._columns[prediction.head](prediction.explained)
        probabilities = []
        for start in range(0, len(steps), self._batch):
            some = steps[start : start + self._batch]
            for slot, (order, keep, step) in enumerate(some):
                region = kept_pixels(order, step, keep).reshape(image.levels.shape[1:])
                self._backend.put(slot, image, region * np.uint8(255))
            logits = self._backend.submit(self._rows).wait()[prediction.head][: len(some)]
            probabilities.append(softmax(logits.astype(np.float64))[:, column])
        return np.concatenate(probabilities)
