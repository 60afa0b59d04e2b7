"""Do whole runs find out what an answer rests on? Models with planted reasons (`benchmarks.planted`), usual settings.

A model that can only use the object has PT 1, one that can only use a shortcut outside of it PT 0. Each instrument is
judged by the PT of both over what they decide as planted, and by how well its share separates them (AUC). The object's
exact mask is given as a mask; its box and regions that hold nearly everything but the tag are boxes.

    python -m benchmarks.planted_runs [--work build/planted] [--instruments "swap 8" "map auto"] [--towers cnn vit]

Rows of instruments, towers and shortcuts that a call does not ask for stay in the record as they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import planted, record
from benchmarks.cases import Case, cases_of
from rate.artifacts.artifact import Artifact
from rate.config import Measurement
from rate.data.bank import BankDraw
from rate.engine.choose_backend import open_backend
from rate.engine.engine import InProcess
from rate.engine.job import decoder
from rate.engine.make_job import bank_size, job_of_samples
from rate.engine.verdicts.verdict import Verdict
from rate.execution import Execution
from rate.types import Bool, Box, Sample

INSTRUMENTS = {
    "swap 8": Measurement(fills=8),
    "swap auto": Measurement(),
    "map auto": Measurement(verdict="map"),
    "map auto, pictures": Measurement(verdict="map", fill="pictures"),
    "map 500, paper's rule": Measurement(verdict="map", masks=500, evidence="minmax", valid="absolute"),
    "occlusion": Measurement(saliency="occlusion"),
    "rise-tokens auto": Measurement(saliency="rise-tokens"),
}
TOKENS = "rise-tokens auto"  # of towers with patches to drop
PATCHES = ("vit",)
FILE = "planted"
REGIONS = ("mask", "box")
"""Of maps, which cost more."""

SIZES = {"small": (0.0, 0.08), "medium": (0.08, 0.2), "large": (0.2, 1.0)}


def main() -> None:
    """Run every instrument on every model, and record the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/planted"))
    parser.add_argument("--instruments", nargs="+", default=list(INSTRUMENTS), choices=list(INSTRUMENTS))
    parser.add_argument("--towers", nargs="+", default=list(planted.TOWERS))
    parser.add_argument("--shortcuts", nargs="+", default=["tag", "scene"])
    parser.add_argument("--images", type=int, default=300, help="pictures of each shortcut that are swapped")
    parser.add_argument("--mapped", type=int, default=100, help="pictures of each shortcut that maps are drawn of")
    arguments = parser.parse_args()
    rows = _kept()
    for tower in arguments.towers:
        for shortcut in arguments.shortcuts:
            data = planted.agreeing(arguments.work, tower, shortcut, 300)
            artifacts = {kind: planted.model(arguments.work, tower, kind) for kind in ("object", shortcut)}
            cases = {kind: cases_of(one, data, shortcut, kind) for kind, one in artifacts.items()}
            for name in arguments.instruments:
                if name != TOKENS or tower in PATCHES:
                    count = arguments.images if name.startswith("swap") else arguments.mapped
                    about = {"tower": tower, "shortcut": shortcut, "pictures": count}
                    found = list(_judged(name, artifacts, cases, about))
                    rows = [row for row in rows if _key(row) not in set(map(_key, found))] + found
                    record.write(FILE, {"rows": rows})


def _kept() -> list[dict[str, Any]]:
    """The rows of earlier calls."""
    path = record.RESULTS / f"{FILE}.json"
    return json.loads(path.read_text(encoding="utf-8"))["figures"]["rows"] if path.exists() else []


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return row["tower"], row["shortcut"], row["instrument"], row["region"]


def _judged(
    instrument: str, artifacts: dict[str, Artifact], cases: dict[str, list[Case]], about: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    measurement = INSTRUMENTS[instrument]
    count = about["pictures"]
    for region in next(iter(cases.values()))[0].regions:
        if instrument.startswith("swap") or region in REGIONS:
            found = {kind: _verdicts(artifacts[kind], own, region, measurement, count) for kind, own in cases.items()}
            run = [verdict for own in found.values() for verdict in own]
            row: dict[str, Any] = {**about, "instrument": instrument, "region": region}
            shares = {}
            for kind, own in found.items():
                who = "object" if kind == "object" else "shortcut"
                figures, checked = _figures(cases[kind][:count], own, region)
                shares[who] = [_share(verdict, measurement) for verdict in checked]
                row |= {f"{name}_{who}": value for name, value in figures.items()}
            row["auc"] = _auc(shares["object"], shares["shortcut"])
            row["forwards_mean"] = round(float(np.mean([verdict.forwards for verdict in run])), 1)
            row["capped"] = round(float(np.mean([verdict.settled == "capped" for verdict in run])), 4)
            print(row, flush=True)
            yield row


def _figures(cases: list[Case], verdicts: list[Verdict], region: str) -> tuple[dict[str, Any], list[Verdict]]:
    """PT over all right predictions and over those decided as planted, by size of the object; and these."""
    pairs = [
        (case, verdict)
        for case, verdict in zip(cases, verdicts, strict=True)
        if case.right and verdict.valid is not None and case.holds_object(region)
    ]
    checked = [(case, verdict) for case, verdict in pairs if case.rests_as_planted]
    figures: dict[str, Any] = {"n_all": len(pairs), "pt_all": _pt(pairs), "n": len(checked), "pt": _pt(checked)}
    for size, (low, high) in SIZES.items():
        figures[f"pt_{size}"] = _pt([one for one in checked if low <= one[0].regions["mask"].mean() < high])
    figures["undefined"] = sum(verdict.valid is None for verdict in verdicts)
    return figures, [verdict for _, verdict in checked]


def _pt(chosen: list[tuple[Case, Verdict]]) -> float | None:
    return round(float(np.mean([bool(verdict.valid) for _, verdict in chosen])), 4) if chosen else None


def _share(verdict: Verdict, measurement: Measurement) -> float:
    """What ranks verdicts: the share of swaps, the localization of a map, the mass under the paper's rule."""
    if verdict.swap:
        value = verdict.swap.share
    elif measurement.valid == "absolute":
        value = verdict.saliency.mass[measurement.evidence]
    else:
        value = verdict.saliency.localization
    return 0.0 if value is None else value


def _auc(high: list[float], low: list[float]) -> float | None:
    """Probability that a sample of ``high`` lies above one of ``low``, ties counted half."""
    if not high or not low:
        return None
    a, b = np.array(high)[:, None], np.array(low)[None, :]
    return round(float(((a > b) + 0.5 * (a == b)).mean()), 4)


def _verdicts(
    artifact: Artifact, cases: list[Case], region: str, measurement: Measurement, count: int
) -> list[Verdict]:
    """The verdicts of a run over the first ``count`` pictures with one of their regions; fills are drawn of all."""
    samples = [_with_region(case.prepared.sample, region, case.regions[region]) for case in cases]
    draw = BankDraw(bank_size(measurement), measurement.seed)
    for sample in samples:
        draw.add(sample)
    bank = draw.bank(decoder(measurement, artifact.geometry))
    samples = samples[:count]
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


if __name__ == "__main__":
    main()
