"""What a lower precision does to verdicts: the same samples under the same masks, once more in f32."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from pathlib import Path

from rate.backends.base import BackendSpec
from rate.data.digests import fingerprint
from rate.engine.job import Job
from rate.engine.pipeline import Observe, evaluate
from rate.files import write_json
from rate.runs.parts import read_rows
from rate.runs.store import read_run
from rate.types import Json

PRECISION_SCHEMA_ID = "rate.precision/1"


@dataclass(frozen=True, slots=True)
class Flips:
    """One head's rows in the run's precision against f32."""

    head: str
    samples: int  # with a prediction in f32
    predictions: int  # that differ, or are missing
    verdicts: int  # valid, not valid or undefined: that differ, or are missing
    max_abs_rma: float | None  # largest difference of the positive evidence's relevance mass

    def to_json(self) -> Json:
        """All fields."""
        return {name: getattr(self, name) for name in self.__slots__}


def compare_precision(
    job: Job, reference: BackendSpec, run: Path, samples: int, observe: Observe = lambda _: None
) -> list[Flips]:
    """Evaluate some samples of a finished ``run`` again with ``reference`` and count what differs.

    Args:
        job: of the run.
        reference: a backend in f32.
        run: the run folder; the reference's rows go to ``precision/`` in it, the result to ``precision.json``.
        samples: how many; the same ones whatever the order of the data.
        observe: told the progress.
    """
    chosen = heapq.nsmallest(samples, job.samples, key=lambda sample: fingerprint(sample.id))
    execution = replace(job.execution, save_maps=0, limit=None, repair=False)
    again = replace(job, samples=tuple(chosen), execution=execution, available=len(chosen))
    evaluate(again, reference, run / "precision", observe)
    own, f32 = _rows(run), _rows(run / "precision")
    found = [_flips(head.name, own, f32) for head in job.heads]
    write_json(
        run / "precision.json",
        {
            "schema": PRECISION_SCHEMA_ID,
            "precision": read_run(run)["identity"]["precision"],
            "reference": {"backend": reference.name, "precision": reference.precision},
            "heads": {flips.head: flips.to_json() for flips in found},
        },
    )
    return found


Rows = dict[tuple[str, str], Json]


def _rows(run: Path) -> Rows:
    columns = ["id", "head", "prediction", "valid", "rma_positive", "error"]
    return {(row["id"], row["head"]): row for row in read_rows(run, read_run(run), columns).to_pylist()}


def _flips(head: str, own: Rows, f32: Rows) -> Flips:
    answers = {key: row for key, row in f32.items() if key[1] == head and row["error"] is None and key in own}
    both = [(own[key], row) for key, row in answers.items() if own[key]["error"] is None]
    lost = len(answers) - len(both)
    masses = [(a["rma_positive"], b["rma_positive"]) for a, b in both]
    differences = [abs(a - b) for a, b in masses if a is not None and b is not None]
    return Flips(
        head=head,
        samples=len(answers),
        predictions=lost + sum(a["prediction"] != b["prediction"] for a, b in both),
        verdicts=lost + sum(a["valid"] != b["valid"] for a, b in both),
        max_abs_rma=max(differences, default=None),
    )
