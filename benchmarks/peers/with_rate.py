"""`rate` as a worker: the whole engine from the image file to the stored row, the model held open.

Every request is a run of its own, with its decoding, its Parquet files and its summary. Run by the interpreter of
`rate`, from the folder that holds `benchmarks`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import worker

from rate.artifacts.artifact import load_artifact
from rate.config import Measurement
from rate.engine.choose_backend import open_backend
from rate.engine.engine import InProcess
from rate.engine.evaluate import evaluate
from rate.engine.make_job import job_from_artifact
from rate.execution import Execution
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from rate.version import __version__

MAPS: dict[str, int | None] = {"map": None, "swap": 0}
"""Maps that are kept: all where they decide, none where they would be drawn afterwards."""


class Rate:
    """An open backend, and the job of all images."""

    def __init__(self, setup: worker.Setup) -> None:
        artifact = load_artifact(Path(setup.files[setup.options["artifact"]]))
        execution = Execution(
            setup.options["backend"],
            setup.options["precision"],
            worker.BATCH,
            setup.threads,
            save_maps=MAPS[setup.options["verdict"]],
        )
        manifest = Path(setup.files["manifest"])
        measurement = Measurement(verdict=setup.options["verdict"], seed=setup.options.get("seed", 0))
        job = job_from_artifact(artifact, manifest, setup.options["split"], measurement, execution)
        if others := setup.options.get("bank"):
            job = replace(job, bank=job_from_artifact(artifact, manifest, others, measurement, execution).bank)
        samples = {sample.id: sample for sample in job.samples}
        self._samples = [samples[name] for name in setup.options["ids"]]
        self._job, self._classes = job, artifact.heads[0].classes
        self._held = ExitStack()
        backend = self._held.enter_context(open_backend(artifact, execution))
        self._runner = InProcess(backend)
        self.about = {
            "version": __version__,
            "runtime": f"{backend.name} {backend.version}",
            "precision": backend.precision,
        }

    def predict(self, image: int) -> tuple[int, float]:
        """As `worker.Tool`."""
        rows, _ = self._run([image], worker.WARM_UP)
        return self._classes.index(rows[0]["prediction"]), rows[0]["probability"]

    def explain(self, images: Sequence[int], masks: int | str) -> worker.Explained:
        """As `worker.Tool`; ``masks`` may be auto, and is the number of fills where swaps decide."""
        rows, maps = self._run(images, masks)
        verdicts = [{name: row[name] for name in ("id", "valid", "settled", "undefined_reason")} for row in rows]
        return worker.Explained(maps, sum(row["forwards"] for row in rows), {"verdicts": verdicts})

    def _run(self, images: Sequence[int], masks: int | str) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
        samples = tuple(self._samples[image] for image in images)
        number = "fills" if self._job.measurement.verdict == "swap" else "masks"
        measurement = replace(self._job.measurement, **{number: masks})
        job = replace(self._job, samples=samples, available=len(samples), measurement=measurement)
        with tempfile.TemporaryDirectory(prefix="rate-") as folder:
            out = Path(folder) / "run"
            evaluate(job, self._runner, out)
            rows = read_rows(out, read_run(out)).to_pylist()
            return rows, saved_maps(out) if number == "masks" else []


def saved_maps(run: Path) -> list[np.ndarray]:
    """Maps [side,side] of a run."""
    rows = pq.read_table(run / "maps" / "maps.parquet").to_pylist()
    return [np.frombuffer(row["map"], np.float16).reshape(row["side"], row["side"]) for row in rows]


if __name__ == "__main__":
    worker.serve(Rate)
