"""The effect of a lower precision on verdicts: the same samples under the same masks or fills, also in f32."""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from rate.artifacts.records import Flips
from rate.data.digests import fingerprint
from rate.engine.evaluate import Observe, evaluate
from rate.engine.job import Job
from rate.engine.outcome import Runner
from rate.records import Document, Record, write
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from rate.studies.flips import Answer, count_flips
from rate.types import Json


class ReferenceBackend(Record, frozen=True):
    """The backend that a precision is compared with."""

    backend: str
    precision: str


class PrecisionDocument(Document, frozen=True, tag="rate.precision/3"):
    """precision.json: what the precision of a run changes."""

    precision: str
    reference: ReferenceBackend
    heads: dict[str, Flips]


def compare_precision(
    job: Job, reference: Runner, run: Path, samples: int, observe: Observe = lambda _: None
) -> list[Flips]:
    """Evaluate some samples of a finished ``run`` again with ``reference`` and count the differences.

    A second comparison reuses the first: with more samples it evaluates the rest, with fewer it counts those alone.

    Args:
        job: the job of the run.
        reference: a runner in f32.
        run: the run folder; the reference's rows go to ``precision/`` in it, the result to ``precision.json``.
        samples: the number of samples; the selection is independent of the order of the data.
        observe: receives the progress.
    """
    folder = run / "precision"
    before = read_run(folder).samples.available if (folder / "run.json").exists() else 0
    wanted = heapq.nsmallest(max(samples, before), job.samples, key=lambda sample: fingerprint(sample.id))
    execution = replace(job.execution, save_maps=0, limit=None, repair=False, max_errors=float(len(wanted)))
    again = replace(job, samples=tuple(wanted), execution=execution, available=len(wanted))
    evaluate(again, reference, folder, observe)
    chosen = frozenset(sample.id for sample in wanted[:samples])
    own, f32 = (_rows(one, chosen) for one in (run, folder))
    all_flips = [_flips(head.name, own, f32) for head in job.heads]
    document = PrecisionDocument(
        precision=read_run(run).identity.precision,
        reference=ReferenceBackend(reference.backend, reference.precision),
        heads={flips.head: flips for flips in all_flips},
    )
    write(run / "precision.json", document)
    return all_flips


RowsByKey = dict[tuple[str, str], Json]


def _rows(run: Path, chosen: Collection[str]) -> RowsByKey:
    columns = ["id", "head", "prediction", "valid", "share", "rma_positive", "error"]
    rows = read_rows(run, read_run(run), columns).to_pylist()
    return {(row["id"], row["head"]): row for row in rows if row["id"] in chosen}


def _flips(head: str, own: RowsByKey, f32: RowsByKey) -> Flips:
    keys = [key for key, row in f32.items() if key[1] == head and row["error"] is None and key in own]
    return count_flips(head, [(_answer(own[key]), _answer(f32[key])) for key in keys])


def _answer(row: Json) -> Answer | None:
    """Return the answer of a row; only one of the two shares is not null."""
    if row["error"] is not None:
        return None
    return Answer(row["prediction"], row["valid"], row["rma_positive"] if row["share"] is None else row["share"])
