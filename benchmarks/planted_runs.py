"""Do whole runs find out what an answer rests on? Models with planted reasons (`benchmarks.planted`), usual settings.

Swaps, of 8 other pictures and until the verdict is clear, and maps of dropped patches for the vision transformer; each
judged as in `benchmarks.validity`. The object's exact mask is given as a mask, all other regions are boxes.

    python -m benchmarks.planted_runs [--work build/validity] [--instruments swap tokens] [--towers cnn vit contour]

Rows of towers and shortcuts that a call does not ask for stay in the record as they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import planted, record
from benchmarks.cases import Case, cases_of
from benchmarks.validity import Judged, figures
from rate.artifacts.artifact import Artifact
from rate.config import Measurement
from rate.data.bank import BankDraw
from rate.engine.choose_backend import open_backend
from rate.engine.engine import InProcess
from rate.engine.job import bank_size, decoder, job_of_samples
from rate.engine.verdicts.verdict import Verdict
from rate.execution import Execution
from rate.types import Bool, Box, Sample

INSTRUMENTS = {
    "swap": {"swap 8": Measurement(fills=8), "swap auto": Measurement()},
    "tokens": {"rise-tokens auto": Measurement(saliency="rise-tokens")},
}
PATCHES = ("vit",)
"""Towers with patches to drop."""


def main() -> None:
    """Run every instrument on every model, and record the figures of each instrument in a file of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/validity"))
    parser.add_argument("--instruments", nargs="+", default=list(INSTRUMENTS), choices=list(INSTRUMENTS))
    parser.add_argument("--towers", nargs="+", default=list(planted.TOWERS))
    parser.add_argument("--shortcuts", nargs="+", default=["tag", "scene"])
    parser.add_argument("--images", type=int, default=300, help="pictures of each shortcut")
    arguments = parser.parse_args()
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in arguments.instruments}
    for tower in arguments.towers:
        for shortcut in arguments.shortcuts:
            data = planted.agreeing(arguments.work, tower, shortcut, 300)
            artifacts = {kind: planted.model(arguments.work, tower, kind) for kind in ("object", shortcut)}
            cases = {kind: cases_of(one, data, shortcut, kind)[: arguments.images] for kind, one in artifacts.items()}
            for name, found in rows.items():
                if name == "swap" or tower in PATCHES:
                    for row in _judged(name, artifacts, cases):
                        found.append({"tower": tower, "shortcut": shortcut, "pictures": arguments.images, **row})
                        print(found[-1], flush=True)
    for name, found in rows.items():
        record.write(f"planted_{name}", {"rows": _kept(name, found) + found})


def _kept(instrument: str, found: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows of earlier calls on other models than those of the rows ``found``."""
    path, new = record.RESULTS / f"planted_{instrument}.json", {(row["tower"], row["shortcut"]) for row in found}
    rows = json.loads(path.read_text(encoding="utf-8"))["figures"]["rows"] if path.exists() else []
    return [row for row in rows if (row["tower"], row["shortcut"]) not in new]


def _judged(
    instrument: str, artifacts: dict[str, Artifact], cases: dict[str, list[Case]]
) -> Iterator[dict[str, object]]:
    for design, measurement in INSTRUMENTS[instrument].items():
        for region in next(iter(cases.values()))[0].regions:
            verdicts = {kind: _verdicts(artifacts[kind], found, region, measurement) for kind, found in cases.items()}
            columns = {kind: [_statistic(verdict) for verdict in found] for kind, found in verdicts.items()}
            run = [verdict for found in verdicts.values() for verdict in found]
            yield {
                "design": design,
                "region": region,
                **figures(cases, columns, "share", region),
                **{f"undefined_{kind}": sum(v.valid is None for v in found) for kind, found in verdicts.items()},
                "forwards_mean": round(float(np.mean([verdict.forwards for verdict in run])), 1),
                "capped": round(float(np.mean([verdict.settled == "capped" for verdict in run])), 4),
            }


def _verdicts(artifact: Artifact, cases: list[Case], region: str, measurement: Measurement) -> list[Verdict]:
    """The verdicts of a run over the pictures with one of their regions."""
    samples = [_with_region(case.prepared.sample, region, case.regions[region]) for case in cases]
    draw = BankDraw(bank_size(measurement), measurement.seed)
    for sample in samples:
        draw.add(sample)
    bank = draw.bank(decoder(measurement, artifact.geometry))
    job = job_of_samples(artifact, samples, measurement, Execution(), bank=bank)
    with open_backend(artifact, job.execution, measurement.form) as backend:
        steps = InProcess(backend).steps(job, samples)
        found = {one.sample.id: one.verdicts[0] for step in steps for one in step.outcomes}
    return [found[sample.id] for sample in samples]


def _with_region(sample: Sample, name: str, region: Bool) -> Sample:
    """Give a sample a region by boxes, one for each row of pixels; its mask stays a mask."""
    if name == "mask":
        return sample
    rows = ((y, np.flatnonzero(row)) for y, row in enumerate(region) if row.any())
    boxes: tuple[Box, ...] = tuple((float(x[0]), float(y), float(x[-1] + 1), float(y + 1)) for y, x in rows)
    return replace(sample, mask=None, boxes=boxes)


def _statistic(verdict: Verdict) -> Judged:
    value = verdict.swap.share if verdict.swap else verdict.saliency.localization
    defined = verdict.valid is not None and value is not None
    return Judged({"share": (value or 0.0) - 0.5}, defined, {"share": verdict.area >= 0.5})


if __name__ == "__main__":
    main()
