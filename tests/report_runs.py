"""Run folders with chosen rows, images and maps, for the tests of reports."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from rate.config import Measurement
from rate.data.images.geometry import Geometry
from rate.data.manifest import read_manifest
from rate.files import write_json
from rate.records import plain
from rate.report.html.selection import rank_of
from rate.runs.parts import write_part
from rate.runs.rows import MAP_SCHEMA, SCHEMA, SKETCH
from rate.runs.run_schema import RUN_SCHEMA_ID
from rate.runs.tables import write_table

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
    folder = root / name
    (folder / "samples").mkdir(parents=True)
    (folder / "maps").mkdir()
    rows = [row(head, k, plan) for k in range(plan.count + plan.errors) for head in plan.heads]
    part = write_part(folder, "0" * 64, pa.Table.from_pylist(rows, SCHEMA))
    if plan.maps:
        kept = [saved(head, k, plan) for head in plan.heads for k in range(min(plan.maps, plan.count))]
        write_table(pa.Table.from_pylist(kept, MAP_SCHEMA), folder / "maps" / "maps.parquet")
    write_json(folder / "run.json", document(plan, manifest, part))
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


def document(plan: Plan, manifest: Path, part: dict[str, Any]) -> dict[str, Any]:
    """run.json."""
    rows = part["rows"]
    measurement = Measurement(**{"masks": 100} | plan.measurement)
    geometry = Geometry(size=plan.side, resize=plan.side, mean=GEOMETRY.mean, std=GEOMETRY.std)
    work = {
        "forwards": 10 * rows,
        "used": 10 * rows,
        "rows": 10 * rows,
        "seconds": 2.0,
        "waiting_s": 0.1,
        "samples": rows,
    }
    return {
        "schema": RUN_SCHEMA_ID,
        "status": plan.status,
        "key": "0" * 64,
        "measurement": measurement.to_json(),
        "identity": {
            "weights": "w" * 64,
            "data": read_manifest(manifest).digest(),
            "geometry": plain(geometry),
            "pixel_path": "pillow-bicubic/2",
            "backend": "onnxruntime",
            "precision": "f32",
        },
        "rule": measurement.rule(),
        "execution": {"batch": 32},
        "origin": {"artifact": "artifact", "data": str(manifest), "split": None, "limit": None},
        "heads": [{"name": head, "classes": len(plan.classes)} for head in plan.heads],
        "samples": {"planned": plan.count + plan.errors, "available": plan.count + plan.errors},
        "versions": {"rate": "0.1.0"},
        "machine": {"processor": "a processor"},
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:01:00Z",
        "sessions": [work],
        "parts": [part],
    }


def identifier(k: int) -> str:
    """Id of sample k."""
    return f"s{k:04d}"


def label(k: int, plan: Plan) -> str:
    """Class of sample k."""
    return plan.classes[k % len(plan.classes)]


def row(head: str, k: int, plan: Plan) -> dict[str, Any]:
    """One row; those after `count` are errors."""
    known = {"id": identifier(k), "head": head, "label": label(k, plan), "forwards": 0, "settled": plan.settled}
    if k >= plan.count:
        return dict.fromkeys(SCHEMA.names) | known | {"error": f"{k}.png: no such file"}
    quadrant = plan.quadrants[k % len(plan.quadrants)]
    correct, valid = quadrant != "ww" and quadrant[0] != "w", quadrant[1] == "r"
    judged = quadrant != "undefined"
    mass = (0.7 if valid else 0.2) + 0.001 * (k % 50)
    region = np.zeros((SKETCH, SKETCH), np.uint8)
    region[: SKETCH // 2, : SKETCH // 2] = 255
    return (
        dict.fromkeys(SCHEMA.names)
        | known
        | {
            "prediction": label(k if correct else k + 1, plan),
            "probability": 0.8,
            "correct": correct,
            "explained": label(k, plan),
            "effect": 1.5,
            "localization": (mass - 0.05) / 0.9 if judged else None,
            "rma_positive": mass if judged else None,
            "rma_minmax": 0.3,
            "rma_raw": 0.3,
            "rma_se": 0.02,
            "ceiling": 0.95,
            "floor": 0.05,
            "area": 0.25,
            "valid": valid if judged else None,
            "valid_midpoint": valid if judged else None,
            "valid_absolute": valid if judged else None,
            "undefined_reason": None if judged else "zero-evidence",
            "forwards": 101,
            "group": f"g{k % 2}" if plan.group else None,
            "evidence_sketch": np.full((SKETCH, SKETCH), 1 / SKETCH**2, np.float16).tobytes(),
            "region_sketch": region.tobytes(),
        }
    )


def saved(head: str, k: int, plan: Plan) -> dict[str, Any]:
    """The saved map of a row: heat in the upper left where the evidence is valid, else in the lower right."""
    values = np.random.default_rng(k).random((56, 56)) * 0.2
    quadrant = plan.quadrants[k % len(plan.quadrants)]
    half = slice(0, 28) if quadrant[1] == "r" else slice(28, 56)
    values[half, half] += 0.8
    return {
        "id": identifier(k),
        "head": head,
        "quadrant": quadrant,
        "rank": rank_of(identifier(k)),
        "side": 56,
        "map": (values / values.max()).astype(np.float16).tobytes(),
    }
