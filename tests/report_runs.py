"""Run folders with chosen rows, images and maps, for the tests of reports."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import run_rows
from PIL import Image
from run_rows import run_json, write_parts

from rate.config import Measurement
from rate.data.digests import fingerprint
from rate.data.images.geometry import Geometry
from rate.data.manifest import read_manifest
from rate.records import plain
from rate.runs.parts import write_table
from rate.runs.rows import MAP_SCHEMA
from rate.types import Json

SIDE = 48
GEOMETRY = Geometry(size=SIDE, resize=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3)
CYCLE = ("rr", "rr", "rw", "rr", "wr", "rw", "ww", "undefined")


@dataclass
class Plan:
    """What a run is to hold; sample k of the set has quadrant `quadrants[k % len]` under every head."""

    count: int = 24
    heads: tuple[str, ...] = ("zs",)
    classes: tuple[str, ...] = ("ant", "bee", "cow")
    quadrants: tuple[str, ...] = CYCLE
    status: str = "complete"
    maps: int = 1_000  # a head
    errors: int = 0
    settled: str = "fixed"
    group: bool = False
    noise: bool = False  # pictures that do not compress
    pictures: int = 1_000  # files written; the manifest names all
    side: int = SIDE
    measurement: dict[str, Any] = field(default_factory=dict)


def write_run(root: Path, plan: Plan, name: str = "run") -> Path:
    """A set of images below root/set (once) and the run folder root/name."""
    manifest = root / "set" / "manifest.csv"
    if not manifest.exists():
        write_set(manifest, plan)
    rows = [row(head, k, plan) for k in range(plan.count + plan.errors) for head in plan.heads]
    folder = write_parts(root / name, document(plan, manifest), [rows])
    (folder / "maps").mkdir()
    if plan.maps:
        kept = [saved(head, k, plan) for head in plan.heads for k in range(min(plan.maps, plan.count))]
        write_table(pa.Table.from_pylist(kept, MAP_SCHEMA), folder / "maps" / "maps.parquet")
    return folder


def write_set(manifest: Path, plan: Plan) -> None:
    """Grey pictures with a white square at the region, one box each."""
    manifest.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "image", "label", "x0", "y0", "x1", "y1"])
        for k in range(plan.count):
            half = plan.side // 2
            writer.writerow([identifier(k), f"{k}.png", label(k, plan), 0, 0, half, half])
            if k < plan.pictures:
                Image.fromarray(pixels(plan, rng)).save(manifest.parent / f"{k}.png", compress_level=1)


def pixels(plan: Plan, rng: np.random.Generator) -> np.ndarray:
    """One picture."""
    shape, half = (plan.side, plan.side, 3), plan.side // 2
    drawn = rng.integers(0, 256, shape, np.uint8) if plan.noise else np.full(shape, 90, np.uint8)
    drawn[:half, :half] = 230
    return drawn


def document(plan: Plan, manifest: Path) -> Json:
    """run.json."""
    measurement = Measurement(**{"masks": 100} | plan.measurement)
    geometry = Geometry(size=plan.side, resize=plan.side, mean=GEOMETRY.mean, std=GEOMETRY.std)
    found = run_json(plan.heads, plan.count + plan.errors, status=plan.status)
    found["identity"] |= {"data": read_manifest(manifest).digest(), "geometry": plain(geometry)}
    return found | {
        "measurement": measurement.to_json(),
        "rule": measurement.rule(),
        "execution": {"batch": 32},
        "origin": {"artifact": "artifact", "data": str(manifest), "split": None, "limit": None, "shard": "1/1"},
        "heads": [{"name": head, "classes": len(plan.classes)} for head in plan.heads],
        "versions": {"rate": "0.1.0"},
        "machine": {"processor": "a processor"},
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:01:00Z",
    }


def identifier(k: int) -> str:
    """Id of sample k."""
    return f"s{k:04d}"


def label(k: int, plan: Plan) -> str:
    """Class of sample k."""
    return plan.classes[k % len(plan.classes)]


def row(head: str, k: int, plan: Plan) -> Json:
    """One row; those after `count` are errors."""
    own, known = label(k, plan), {"settled": plan.settled}
    if k >= plan.count:
        return run_rows.row(identifier(k), head, "error", own, error=f"{k}.png: no such file", **known)
    quadrant = plan.quadrants[k % len(plan.quadrants)]
    right = quadrant in ("rr", "rw", "undefined")
    known |= {"prediction": label(k if right else k + 1, plan), "group": f"g{k % 2}" if plan.group else None}
    if quadrant == "undefined":
        unmeasured = dict.fromkeys(("localization", "rma_positive")) | {"undefined_reason": "zero-evidence"}
        return run_rows.row(identifier(k), head, "undefined_right", own, **unmeasured, **known)
    mass = (0.7 if quadrant[1] == "r" else 0.2) + 0.001 * (k % 50)
    return run_rows.row(identifier(k), head, quadrant, own, mass=mass, **known)


def saved(head: str, k: int, plan: Plan) -> Json:
    """The saved map of a row: heat in the upper left where the evidence is valid, else in the lower right."""
    values = np.random.default_rng(k).random((56, 56)) * 0.2
    quadrant = plan.quadrants[k % len(plan.quadrants)]
    half = slice(0, 28) if quadrant[1] == "r" else slice(28, 56)
    values[half, half] += 0.8
    return {
        "id": identifier(k),
        "head": head,
        "quadrant": quadrant,
        "rank": fingerprint(identifier(k)),
        "side": 56,
        "map": (values / values.max()).astype(np.float16).tobytes(),
    }
