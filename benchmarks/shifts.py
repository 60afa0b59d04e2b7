"""ZS, LP, FT and FLCP of a real dual encoder, clean and under three corruptions; and what `--corrupt all` costs.

The models are those of `benchmarks.caltech`, made first where --work does not hold them (minutes that are not counted).
All test photographs, by swaps.

    RATE_TEST_DATA=FOLDER python -m benchmarks.shifts [--work build/caltech]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.caltech import ARTIFACTS, Transcript, models, photographs
from rate.data.images.corrupt import CROP, LIBRARIES, corruption_function
from rate.data.images.prepare import prepare
from rate.data.manifest import read_manifest
from rate.engine.prefetch import Prefetch
from rate.machine import versions
from rate.studies.corruption_grid import METRICS

SHIFTS = ("clean", "gaussian_noise-3", "defocus_blur-3", "fog-3")
"""A noise, a blur and a weather of ImageNet-C, in the middle of five severities."""

SLOWEST = "zoom_blur:3"
FOR_COST = "--masks 20 --limit 2"


def main() -> None:
    """Run and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/caltech"))
    arguments = parser.parse_args()
    work = arguments.work
    transcript = Transcript({os.environ["RATE_TEST_DATA"]: "DATA", f"{work}/": ""})
    if not all((work / name / "artifact.json").exists() for name in ARTIFACTS):
        models(Transcript({}), work, epochs=4)
    settings = "--split test --threads 1"
    asked = ",".join(name.replace("-", ":") for name in SHIFTS)
    for name in ARTIFACTS:
        out = f"{work}/shifts/{name}"
        transcript.run(f"rate eval {work}/{name} {photographs()} {settings} --corrupt {asked} --out {out}")
    record.write(
        "shifts",
        {
            "commands": [line[2:] for line in transcript.text().splitlines() if line.startswith("$ ")],
            "heads": heads(work),
            "against_zero_shot": differences(work),
            "cost": cost(work),
            "decoded_images_per_s": decoding(),
            "evaluating_s": round(
                sum(one["seconds"] for name in ARTIFACTS for one in sessions(work / "shifts" / name))
            ),
            "libraries": {name: found for name, found in versions(LIBRARIES).items() if name in LIBRARIES},
        },
    )


def heads(work: Path) -> dict[str, Any]:
    """Head -> shift -> its numbers, with intervals, uniform verdicts and the noise of its verdicts."""
    found: dict[str, Any] = {}
    for name in ARTIFACTS:
        for run in json.loads((work / "shifts" / name / "grid.json").read_text())["runs"]:
            for head, numbers in run["heads"].items():
                found.setdefault(head, {})[run["run"]] = numbers
    return found


def differences(work: Path) -> dict[str, Any]:
    """Shift -> head -> metric: that head minus zero-shot, paired, with its 95 % interval."""
    found: dict[str, Any] = {}
    for shift in SHIFTS:
        runs = [f"{work}/shifts/{name}/{shift}" for name in ARTIFACTS]
        shown = Transcript({}).run(f"rate compare {' '.join(runs)} --baseline {runs[0]}@zs --json", shown=0)
        found[shift] = {
            pair["second"].rpartition("@")[2]: {
                metric: {key: pair["differences"][metric][key] for key in ("value", "low", "high")}
                for metric in METRICS
            }
            for pair in json.loads(shown)["pairs"]
        }
    return found


def cost(work: Path) -> dict[str, Any]:
    """What --corrupt all takes for one image, and of that the evaluation alone, beside the clean image."""
    found: dict[str, Any] = {"options": FOR_COST}
    for asked in ("clean", "all"):
        out = work / "shifts" / f"cost-{asked}"
        shutil.rmtree(out, ignore_errors=True)  # what is there would not be computed again
        began = time.perf_counter()
        command = f"rate eval {work}/ft {photographs()} --split test {FOR_COST} --threads 1 --corrupt {asked}"
        Transcript({}).run(f"{command} --out {out}", shown=0)
        wall = time.perf_counter() - began
        did = sessions(out)
        found[asked] = {
            "runs": len(list(out.glob("*/run.json"))),
            "wall_s": round(wall, 2),
            "evaluating_s": round(sum(one["seconds"] for one in did), 2),
            "waiting_for_pictures_s": round(sum(one["waiting_s"] for one in did), 2),
            "wall_s_per_image": round(wall / (sum(one["samples"] for one in did) / len(did)), 2),
        }
    return found


def sessions(grid: Path) -> list[dict[str, Any]]:
    """What was done in all runs of a grid."""
    runs = [json.loads(path.read_text()) for path in grid.glob("*/run.json")]
    return [session for run in runs for session in run["sessions"]]


def decoding(images: int = 24) -> dict[str, Any]:
    """Images a second from file to pixels, by corruption and threads: corruptions take turns at one generator."""
    samples = read_manifest(Path(photographs()), split="test").samples[:images]
    found: dict[str, Any] = {}
    for corrupt in (None, "fog:3", SLOWEST):
        decode = partial(prepare, geometry=CROP, alter=corruption_function(corrupt))
        decode(samples[0])  # compiles
        for threads in (1, 2, 4):
            began = time.perf_counter()
            with Prefetch(samples, decode, threads, ahead=8) as source:
                while source.next() is not None:
                    pass
            pace = images / (time.perf_counter() - began)
            found.setdefault(corrupt or "clean", {})[str(threads)] = round(pace, 1)
    return found


if __name__ == "__main__":
    main()
