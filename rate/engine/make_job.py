"""Making the job of a run: the samples are read once, and what does not fit the artifact is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rate.artifacts.artifact import Artifact
from rate.config import Measurement
from rate.data.bank import NO_BANK, Bank, BankDraw, folder_bank
from rate.data.evaluation_set import read_evaluation_set
from rate.data.images.corrupt import check_size, corruption_function
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import check_first_masks
from rate.data.mask_table import recorded
from rate.data.set_faults import CURE as LABEL_CURE
from rate.data.set_faults import unknown_labels, with_suggestions
from rate.data.set_parts import Shard
from rate.engine.job import Evaluable, Job, decoder
from rate.engine.verdicts.prediction import Head
from rate.errors import DataError, UsageError
from rate.execution import Execution
from rate.export.generative import check_questions
from rate.reading import USUAL, Reading
from rate.types import Sample

SHUFFLED_SWAPS = 128
"""About so many samples of a large set give the shuffled baseline of swaps."""

SHUFFLED_SHARE = 0.125
"""The largest share of a set that does; so the baseline adds at most an eighth to the cost."""


def job_from_artifact(
    artifact: Evaluable,
    data: Path | str,
    split: str | None,
    measurement: Measurement,
    execution: Execution,
    reading: Reading = USUAL,
) -> Job:
    """Read the samples once, and check that they fit the artifact.

    Raises:
        DataError: the data cannot be used, none of its labels is a class of the artifact, or the first of its masks are
            index maps without a word of what they mean.
        ConfigError: there are too few masks for any verdict, or the corruption is unknown.
        MissingExtra: a corruption is requested and its library is not installed.
    """
    heads = heads_of(artifact)
    asks = any(not head.classes for head in heads)
    measurement = measurement.of_questions if asks else measurement
    measurement.check_evidence()
    said = _check_corruption(measurement, artifact.geometry)
    draw = BankDraw(bank_size(measurement), measurement.seed, asks)
    offered = draw if measurement.fill == "pictures" else None
    reading = recorded(str(data), reading)
    part, elsewhere = Shard.parse(execution.shard), execution.runner != "local"
    chosen = read_evaluation_set(str(data), split, execution.limit, part, offered, reading, elsewhere)
    check_first_masks(chosen)
    if isinstance(artifact, Artifact):
        check_questions(artifact, chosen.asked, data)
    said += check_labels(chosen.labels, heads, data)
    origin = {"artifact": artifact.named, "data": str(data), "split": split, "limit": execution.limit}
    bank = _bank(measurement, artifact.geometry, draw, execution.io)
    return Job(
        heads=heads,
        geometry=artifact.geometry,
        samples=chosen,
        measurement=measurement,
        execution=execution,
        weights=artifact.digest,
        data=chosen.digest,
        origin=origin | {"shard": execution.shard, "reading": reading.to_json()},
        available=chosen.available,
        notices=chosen.notices + said + tuple(f"not in the bank of pictures: {text}" for text in bank.skipped),
        patches=artifact.patches,
        bank=bank,
        shuffled=shuffled_share(measurement, min(chosen.available, execution.limit or chosen.available)),
        ignoring=reading.mask_ignore is not None,
    )


def shuffled_share(measurement: Measurement, samples: int) -> float:
    """Return the share of a set of so many ``samples`` that is swapped along the region of another sample, too.

    The pictures of a folder have no regions.
    """
    if measurement.verdict != "swap" or measurement.fill != "pictures":
        return 0.0
    return min(SHUFFLED_SHARE, SHUFFLED_SWAPS / samples)


def bank_size(measurement: Measurement) -> int:
    """Return the number of pictures of a bank: a sample meets the eighth whose objects its region hides most."""
    return 8 * measurement.most_fills


def _bank(measurement: Measurement, geometry: Geometry, draw: BankDraw, io: int) -> Bank:
    """Read the bank that the measurement asks for: from a folder, or from the samples that were offered to ``draw``."""
    if not measurement.with_pictures:
        return NO_BANK
    decode = decoder(measurement, geometry)
    if measurement.fill == "pictures":
        bank = draw.bank(decode, io)
    else:
        bank = folder_bank(Path(measurement.fill), draw.size, measurement.seed, decode)
    check_bank(bank, measurement)
    return bank


def check_bank(bank: Bank, measurement: Measurement) -> None:
    """Refuse a bank in which a sample meets too few pictures.

    Raises:
        DataError: says how many there are and how many are needed.
    """
    if bank.fewest >= measurement.fewest_fills:
        return
    raise DataError(
        f"fill {measurement.fill}: a sample meets pictures of other classes, which are as few as {bank.fewest} of "
        f"{len(bank)} that can be read, and {measurement.fewest_fills} are needed; give a larger set, another "
        "--fill FOLDER of pictures, or --verdict map"
    )


def job_of_samples(
    artifact: Evaluable,
    samples: Sequence[Sample],
    measurement: Measurement,
    execution: Execution,
    heads: tuple[Head, ...] | None = None,
    bank: Bank | None = None,
) -> Job:
    """Make a job on samples in memory, for callers that write no run.

    ``heads``: None = those of the artifact; ``bank``: None = the pictures of the folder of its fill.

    Raises:
        DataError: the measurement needs more pictures than the folder of its fill has; the samples are no bank.
    """
    if bank is None:
        draw = BankDraw(bank_size(measurement), measurement.seed)
        bank = _bank(measurement, artifact.geometry, draw, execution.io)
    return Job(
        heads=heads or heads_of(artifact),
        geometry=artifact.geometry,
        samples=samples,
        measurement=measurement,
        execution=execution,
        weights=artifact.digest,
        data="",
        origin={"artifact": artifact.named},
        available=len(samples),
        patches=artifact.patches,
        bank=bank,
        ignoring=any(sample.values is not None and sample.values.ignored for sample in samples),
    )


def heads_of(artifact: Evaluable) -> tuple[Head, ...]:
    """Return the heads of an artifact in the form of a job."""
    return tuple(Head(head.name, tuple(head.classes)) for head in artifact.heads)


def choose_head(artifact: Evaluable, name: str | None) -> Head:
    """Return the head called ``name``, or the only one.

    Raises:
        UsageError: the head does not exist, or there are several and no name.
    """
    heads = {head.name: head for head in heads_of(artifact)}
    if name is None and len(heads) == 1:
        return next(iter(heads.values()))
    if name is None or name not in heads:
        asked = "name one of them with --head" if name is None else f"there is no head {name!r}"
        raise UsageError(f"the artifact has the heads {', '.join(heads)}; {asked}")
    return heads[name]


def _check_corruption(measurement: Measurement, geometry: Geometry) -> tuple[str, ...]:
    if corruption_function(measurement.corrupt, measurement.corrupt_seed) is None:
        return ()
    said = check_size(geometry.size)
    return () if said is None else (said,)


def check_labels(labels: frozenset[str], heads: tuple[Head, ...], data: Path | str) -> tuple[str, ...]:
    """Return notices about labels that a head lacks; their samples become rows with an error.

    Raises:
        DataError: a head has none of the labels.
    """
    said = []
    for head in heads:
        if not head.classes:  # every label is an option of its own question
            continue
        unknown = unknown_labels(labels, head.classes)
        if not unknown:
            continue
        if len(unknown) == len(labels):
            raise DataError(
                f"none of the labels in {data} is a class of head {head.name!r} ({_some(head.classes)}): "
                f"{with_suggestions(unknown, head.classes)}; {LABEL_CURE}"
            )
        said.append(
            f"{len(unknown)} of {len(labels)} labels in {data} are no class of head {head.name!r}, and their samples "
            f"will be errors: {with_suggestions(unknown, head.classes)}; {LABEL_CURE}"
        )
    return tuple(said)


def _some(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(map(repr, names[:4])) + (f", ... {len(names)} in all" if len(names) > 4 else "")
