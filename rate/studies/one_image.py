"""The explanation of one image: its prediction, and the evidence for it, by swaps with other pictures or by a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend
from rate.config import FEWEST_FILLS, Measurement
from rate.data.bank import Bank, folder_bank
from rate.data.mask_table import mask_table
from rate.engine.engine import InProcess
from rate.engine.job import Job, decoder
from rate.engine.make_job import bank_size, choose_head, job_of_samples
from rate.engine.schedule import CLEAN_ROWS
from rate.engine.verdicts.stopping import stopping_for
from rate.engine.verdicts.verdict import Verdict
from rate.errors import ConfigError, UsageError
from rate.execution import Execution
from rate.kernels.saliency import Method
from rate.kernels.swap import ROWS_PER_FILL
from rate.reading import USUAL, Reading
from rate.runs.rows import RunStats
from rate.studies.explanation import SWAPS_SHOWN, Explanation
from rate.types import Box, Sample, UInt8

ONE_ROW = "write a manifest of one row with its question and options for `rate eval`"
"""How a generative model is asked about one image."""

FEWEST = 2
"""The number of other pictures that a standard error needs."""


@dataclass(frozen=True, slots=True)
class OneImage:
    """A question about one image."""

    image: Path
    boxes: tuple[Box, ...] = ()  # of the object; without a region there is a map and no verdict
    mask: Path | None = None  # mask of the object, instead of boxes
    label: str | None = None  # class to explain; None = the predicted one
    head: str | None = None  # None = the only head
    reading: Reading = USUAL  # what the values of the mask mean

    @property
    def has_region(self) -> bool:
        """Whether it says where the object is."""
        return bool(self.boxes) or self.mask is not None


def usual_verdict(fill: str) -> str:
    """Return what decides with a fill: swaps, if it is a folder of other pictures."""
    return "map" if fill in ("auto", "mean", "own") else "swap"


def measurement_of_one(given: Measurement) -> Measurement:
    """Return ``given`` with the verdict that is usual for its fill.

    Raises:
        ConfigError: the fill is other pictures of a set, which one image lacks, or there are fills for a map.
    """
    if given.fill == "pictures":
        raise ConfigError("fill 'pictures': one image has no set to take them from; name a folder of other pictures")
    if given.verdict != "swap" and usual_verdict(given.fill) == "swap":
        return replace(given, verdict="swap", score="auto")
    if given.verdict != "swap" and given.fills != "auto":
        raise ConfigError(f"fills {given.fills}: the number of other pictures for swaps; add --fill FOLDER")
    return given


def most_forwards(artifact: Artifact, measurement: Measurement) -> int:
    """Compute the largest number of rows that `explain` takes."""
    drawn = measurement.of_map
    method: Method = drawn.method.masks_of(drawn, artifact.geometry.size, artifact.patches)
    return _rows_of_swaps(measurement) + CLEAN_ROWS + stopping_for(drawn, method).most


def explain(
    artifact: Artifact,
    backend: Backend,
    question: OneImage,
    measurement: Measurement,
    execution: Execution,
    tick: Callable[[int], None] = lambda forwards: None,
) -> Explanation:
    """Measure one image as in a run; the id that seeds its masks and the order of its fills is the file's name.

    Args:
        artifact: the model.
        backend: an open backend with the graph of ``measurement``.
        question: the image and what is asked about it.
        measurement: made by `measurement_of_one`.
        execution: its batch is used.
        tick: receives the rows so far; they end at `most_forwards`.

    Raises:
        UsageError: the image cannot be read, the artifact lacks the head or the class, or swaps lack a region or other
            pictures.
        ConfigError: there are too few masks to show evidence.
    """
    measurement.check_evidence()
    head = choose_head(artifact, question.head)
    if question.label is not None and question.label not in head.classes:
        known = ", ".join(head.classes[:8]) + (", ..." if len(head.classes) > 8 else "")
        raise UsageError(f"class {question.label!r} is not one of head {head.name!r}; its classes are {known}")
    sample = Sample(
        id=question.image.name,
        label=question.label or head.classes[0],
        image=str(question.image.resolve()),
        boxes=question.boxes if question.mask is None else None,
        mask=None if question.mask is None else str(question.mask.resolve()),
    )
    sample = _explained_mask(sample, question)
    explained, bank = replace(measurement, explain="label" if question.label else "prediction"), None
    if measurement.verdict == "swap":
        if not question.has_region:
            raise UsageError(
                f"--fill {measurement.fill}: swaps need to know where the object is; give its --boxes or --mask, or "
                "leave --fill out for a map"
            )
        bank = _other_pictures(artifact, sample, explained)
        if explained.fills == "auto" and len(bank) < FEWEST_FILLS:
            explained = replace(explained, fills=len(bank))
    job, runner = job_of_samples(artifact, (sample,), explained, execution, (head,), bank), InProcess(backend)
    verdict = _verdict(runner, job, tick)
    swaps = _rows_of_swaps(measurement)
    drawn = _verdict(runner, job.of_map, lambda forwards: tick(swaps + forwards)) if verdict.swap else verdict
    others = () if verdict.swap is None else _met(job, sample, verdict.swap.fills)
    return Explanation(verdict, drawn, job.decode(sample), explained, others)


def _explained_mask(sample: Sample, question: OneImage) -> Sample:
    """Return the sample with what its mask means, if the question says it."""
    table = mask_table(None, question.reading)
    if table is None:
        return sample
    if table.document.classes is not None and question.label is None:
        raise UsageError("--mask-classes: which of the classes is the object? Add --class NAME, or give --mask-values")
    explained = table.applied(sample)
    if isinstance(explained, str):
        raise UsageError(f"the mask {sample.mask} {explained}")
    return explained


def _verdict(runner: InProcess, job: Job, tick: Callable[[int], None]) -> Verdict:
    stats = RunStats()
    for step in runner.steps(job, job.samples):
        stats += step.stats
        tick(stats.forwards)
        for outcome in step.outcomes:
            if outcome.error is not None:
                raise UsageError(outcome.error)
            return outcome.verdicts[0]
    raise AssertionError("an engine gives every sample back")


def _rows_of_swaps(measurement: Measurement) -> int:
    return CLEAN_ROWS + ROWS_PER_FILL * measurement.most_fills if measurement.verdict == "swap" else 0


def _other_pictures(artifact: Artifact, sample: Sample, measurement: Measurement) -> Bank:
    """Read the pictures of the folder of fills, without the image itself.

    Raises:
        UsageError: there are too few; says how many there are and how many are needed.
    """
    decode, folder = decoder(measurement, artifact.geometry), measurement.fill
    bank = folder_bank(Path(folder), bank_size(measurement), measurement.seed, decode)
    others = tuple(one for one in bank.pictures if sample.image != one.image and sample.id != one.id)
    needed = measurement.fills if isinstance(measurement.fills, int) else FEWEST
    if len(others) < needed:
        unread = f" ({len(bank.skipped)} cannot be read)" if bank.skipped else ""
        raise UsageError(
            f"--fill {folder} has {len(others)} pictures beside {sample.id} that can be read{unread}, and swaps need "
            f"{needed} of them; give a folder with more, or at least {FEWEST} and --fills {FEWEST}"
        )
    return replace(bank, pictures=others)


def _met(job: Job, sample: Sample, fills: int) -> tuple[UInt8, ...]:
    """Return the first pictures that the image met; those of a folder have no region, so chance alone orders them."""
    numbers = job.bank.order(sample)[: min(SWAPS_SHOWN, fills)].tolist()
    return tuple(job.decode(job.bank.pictures[number]).picture.view for number in numbers)
