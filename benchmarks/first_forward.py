"""What a manifest of a million rows costs before the first forward, by format, and when it is read again.

Every figure is of a process of its own on one core: seconds of the clock and of the processor from its start to the
first forward (of maps, and of swaps with their bank), and its peak memory then. The rows are a few photographs under
many ids. `again`: all samples read a second time, and the same where a run has stored every one of them. `check`: `rate
data check --no-decode`. Target: 5 s.

    python -m benchmarks.first_forward [--rows 1000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from benchmarks import memory, record

BEGIN = """
import json, os, re, sys, time
from pathlib import Path

began = time.perf_counter()

def report(**more):
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    times = {"s": time.perf_counter() - began, "cpu_s": time.process_time(), "peak_mb": peak}
    print(json.dumps({name: round(value, 2) for name, value in (times | more).items()}), flush=True)
"""
FORWARD = """
from rate.artifacts.artifact import load_artifact
from rate.config import Measurement
from rate.engine.evaluate import evaluate
from rate.engine.make_job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.execution import Execution

def first(progress):
    report(read_s=read)
    sys.exit()

execution = Execution(backend="onnxruntime", threads=1)
artifact = load_artifact(Path(sys.argv[1]))
job = job_from_artifact(artifact, sys.argv[2], None, Measurement(verdict=sys.argv[4]), execution)
read = time.perf_counter() - began
with open_runner(artifact, job) as runner:
    evaluate(job, runner, Path(sys.argv[3]), first)
"""
AGAIN = """
from rate.data.digests import ContentTable
from rate.data.evaluation_set import read_evaluation_set
from rate.data.remaining import Remaining

samples = read_evaluation_set(sys.argv[2])
stored = ContentTable((sample.id, None) for sample in samples)
began = time.perf_counter()
assert sum(1 for _ in samples) == len(samples)
again = time.perf_counter() - began
assert not list(Remaining(samples, stored, time.time_ns()))
report(again_s=again, stored_s=time.perf_counter() - began - again)
"""
CHECK = """
from rate.data.make.check import check_manifest

assert not check_manifest(sys.argv[2], decode=False).errors
report()
"""


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measured", nargs="+", default=("forward", "again", "check"), help="the rest is kept")
    arguments = parser.parse_args()
    path = record.RESULTS / "first_forward.json"
    figures: dict[str, object] = json.loads(path.read_text())["figures"] if path.exists() else {}
    figures |= {"rows": arguments.rows, "rounds": arguments.rounds, "target_s": 5.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        memory.write_images(folder)
        artifact = memory.small_artifact(folder)
        for path in manifests(folder, arguments.rows):
            for verdict in ("map", "swap") if "forward" in arguments.measured else ():
                found = [
                    measured(FORWARD, artifact, path, folder / f"{path.name}-{verdict}-{k}", verdict)
                    for k in range(arguments.rounds)
                ]
                figures[f"{path.suffix[1:]}_{verdict}"] = medians(found)
        for name, script in {"again": AGAIN, "check": CHECK}.items():
            if name in arguments.measured:
                figures[name] = measured(script, artifact, folder / "million.csv")
    record.write("first_forward", figures)


def manifests(folder: Path, rows: int) -> Iterator[Path]:
    """Write the rows as CSV, JSON lines and Parquet."""
    table = {
        "id": [str(k) for k in range(rows)],
        "image": [f"{k % memory.FILES}.jpg" for k in range(rows)],
        "label": [f"class {k % memory.CLASSES}" for k in range(rows)],
    }
    corners = {"x0": 10, "y0": 10, "x1": 40, "y1": 40}
    with (folder / "million.csv").open("w") as file:
        file.write(",".join([*table, *corners]) + "\n")
        file.writelines(
            ",".join([*cells, *map(str, corners.values())]) + "\n" for cells in zip(*table.values(), strict=True)
        )
    yield folder / "million.csv"
    with (folder / "million.jsonl").open("w") as file:
        lines = (
            dict(zip(table, cells, strict=True)) | {"boxes": [[*corners.values()]]}
            for cells in zip(*table.values(), strict=True)
        )
        file.writelines(json.dumps(line) + "\n" for line in lines)
    yield folder / "million.jsonl"
    boxes = [[[*map(float, corners.values())]]] * rows
    parquet.write_table(pa.table(table | {"boxes": boxes}), folder / "million.parquet")
    yield folder / "million.parquet"


def measured(script: str, *arguments: Path | str) -> dict[str, float]:
    """Run a script in a process of its own, on the last core that is usable."""
    command = [sys.executable, "-c", BEGIN + script, *map(str, arguments)]
    done = subprocess.run(
        ["taskset", "-c", str(max(os.sched_getaffinity(0))), *command], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(found, flush=True)
    return found


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    """The median of every figure."""
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


if __name__ == "__main__":
    main()
