"""faithfulness.json of a run: how faithful the maps of each head are to its scores."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rate.errors import RunError
from rate.kernels.faithfulness import STEPS
from rate.records import Count, Document, Record, read
from rate.runs.summary.document import BesideUniform

FAITHFULNESS = "faithfulness.json"


class FaithfulMean(Record, frozen=True):
    """A mean with its 95 % interval over samples; null where there are none, or too few."""

    value: float | None
    low: float | None
    high: float | None
    n: Count


class FaithfulHead(Record, frozen=True):
    """The faithfulness of the maps of one head."""

    samples: Count
    skipped: Count  # samples without a map or without finite scores
    deletion: FaithfulMean
    insertion: FaithfulMean
    random: FaithfulMean
    deletion_below_random: FaithfulMean
    insertion_above_random: FaithfulMean
    pointing: BesideUniform
    randomized_model: FaithfulMean


class FaithfulnessDocument(Document, frozen=True, kw_only=True, tag="rate.faithfulness/3"):
    """faithfulness.json."""

    steps: Count = STEPS
    baseline: Literal["channel-mean"] = "channel-mean"
    score: Literal["probability"] = "probability"
    heads: dict[str, FaithfulHead]


def read_faithfulness(run: Path) -> FaithfulnessDocument | None:
    """Read faithfulness.json of a run folder; None if it was not measured.

    Raises:
        RunError: the file is of another origin.
    """
    path = run / FAITHFULNESS
    if not path.exists():
        return None
    return read(path, FaithfulnessDocument, RunError, "delete it, and measure with --faithfulness again")
