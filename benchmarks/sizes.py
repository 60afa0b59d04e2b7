"""What the commands about a run cost over its rows: CPU seconds and peak memory of each, as a process of its own.

The rows are drawn at random and written as the parts of a run, which are sorted as an evaluation does at its end;
two such runs are compared, and the first is written once more as shards, which are merged. Targets: CPU seconds linear
in rows, and in shards; the peak memory of report and gate at the largest size 1.2 times that at the smallest; status
of a million rows in a second.

    python -m benchmarks.sizes [--rows 100000 300000 1000000] [--shards 8 64] [--verdict swap]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from benchmarks import record
from rate.config import Measurement
from rate.records import record as made
from rate.records import schema_id
from rate.runs.part_list import PartLog
from rate.runs.parts import PART_ROWS
from rate.runs.rows import SCHEMA, SKETCH, RunStats
from rate.runs.run_document import RunDocument, write_run
from rate.runs.sort_parts import SORTED_ROWS, write_in_order
from rate.runs.summary.summarise import summarize, write_summary
from rate.version import NUMERICS

CLASSES, GROUPS, FAILED, UNDEFINED = 1000, 4, 0.002, 0.02
"""Classes and groups of the set; shares of the samples without a prediction, and without a verdict."""

HEAD = "lp"
SWAPPED = ("share", "share_se", "kept_alone", "kept_without", "object_only", "background_only")
MAPPED = ("localization", "rma_positive", "rma_minmax", "rma_raw", "rma_se")
DECIDING = ("share", "localization", "rma_positive")
"""The columns that are compared with the threshold."""

POLICY = """
[[check]]
metric = "pt"
min = 0.1

[[check]]
metric = "accuracy"
slice = "class"
min = 0.1
"""
DROP = '\n[[check]]\nmetric = "pt"\nmax_drop = 0.5\n'

MAIN = """
import re, sys
from pathlib import Path
sys.argv[0] = "rate"
from rate.cli.main import run
code = run(sys.argv[1:])
# Not getrusage: its peak is inherited from the process that started this one.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(code, peak, file=sys.stderr)
"""


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=(100_000, 300_000, 1_000_000))
    parser.add_argument("--shards", type=int, nargs="*", default=(8, 64))
    parser.add_argument("--verdict", choices=("swap", "map"), default="swap")
    arguments = parser.parse_args()
    name = "sizes" if arguments.verdict == "swap" else f"sizes_{arguments.verdict}"
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            costs = measured(Path(folder), rows, arguments.verdict, arguments.shards)
        keep(name, rows, costs)


def keep(name: str, rows: int, costs: dict[str, tuple[float, float]]) -> None:
    """Record the costs at one size beside those of the sizes that were measured before."""
    path = record.RESULTS / f"{name}.json"
    by_rows = json.loads(path.read_text())["figures"]["cpu_s_and_peak_mb"] if path.exists() else {}
    by_rows[str(rows)] = costs
    by_rows = dict(sorted(by_rows.items(), key=lambda item: int(item[0])))
    smallest, largest = (by_rows[end] for end in (next(iter(by_rows)), next(reversed(by_rows))))
    both = [command for command in smallest if command in largest]
    record.write(
        name,
        {
            "cpu_s_and_peak_mb": by_rows,
            "largest_over_smallest": {
                "rows": round(int(next(reversed(by_rows))) / int(next(iter(by_rows))), 2),
                "cpu": {command: round(largest[command][0] / smallest[command][0], 2) for command in both},
                "peak": {command: round(largest[command][1] / smallest[command][1], 3) for command in both},
            },
        },
    )


def measured(folder: Path, rows: int, verdict: str, shards: Sequence[int]) -> dict[str, tuple[float, float]]:
    """CPU seconds and peak MB of every command on runs of so many rows, by its name."""
    one, other, pages = folder / "one", folder / "other", (folder / "one.html", folder / "both.html")
    write(one, rows, verdict, seed=0)
    write(other, rows, verdict, seed=1)
    (folder / "gate.toml").write_text(POLICY)
    (folder / "drop.toml").write_text(POLICY + DROP)
    commands = {
        "status": ["status", one],
        "show": ["show", one],
        "gate": ["gate", one, "--policy", folder / "gate.toml"],
        "gate --baseline": ["gate", one, "--policy", folder / "drop.toml", "--baseline", other],
        "report": ["report", one, "--out", pages[0]],
        "report of two": ["report", one, other, "--out", pages[1]],
        "compare": ["compare", one, other],
    }
    costs = {}
    for name, command in commands.items():
        costs[name] = cost(*command)
        print(rows, name, costs[name], flush=True)
    shutil.rmtree(other)
    for count in shards:
        parts = [folder / f"shard-{k}" for k in range(count)]
        for k, part in enumerate(parts):
            write(part, rows, verdict, seed=0, shard=(k, count))
        costs[f"merge of {count}"] = cost("merge", *parts, "--out", folder / "merged")
        for part in (*parts, folder / "merged"):
            shutil.rmtree(part)
    return costs


def cost(*arguments: object) -> tuple[float, float]:
    """CPU seconds and peak MB of one command."""
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    code, peak = re.findall(r"^(\d+) (\d+)$", said, re.MULTILINE)[-1]
    if process.returncode or int(code) not in (0, 1, 3):  # a gate may fail
        raise SystemExit(f"rate {' '.join(map(str, arguments))}: {said[-1000:]}")
    return round(used.ru_utime + used.ru_stime, 2), round(int(peak) / 1024, 1)


def write(folder: Path, rows: int, verdict: str, seed: int, shard: tuple[int, int] = (0, 1)) -> None:
    """A finished run of one head, or of a shard of its set."""
    (folder / "samples").mkdir(parents=True)
    (folder / "maps").mkdir()
    run = document(rows, verdict, str(seed + 1) * 64)
    own = len(range(shard[0], rows, shard[1]))
    parts = write_in_order(folder, run.key, tables(rows, verdict, seed, shard), own, SORTED_ROWS)
    PartLog(folder).replace(parts)
    stored = sum(part.rows for part in parts)
    run = replace(run, rows=stored, status="complete" if stored == rows else "partial")
    write_run(folder, run)
    write_summary(folder, summarize(folder, run))


def tables(rows: int, verdict: str, seed: int, shard: tuple[int, int]) -> Iterator[pa.Table]:
    """The rows of a shard in the parts of a run, in an order of chance; seeds differ in the verdicts."""
    number, count = shard
    order = np.random.default_rng(0).permutation(rows)[number::count]
    rng = np.random.default_rng(seed)
    right, valid = rng.random(rows) < 0.8, rng.random(rows) < 0.7
    for start in range(0, len(order), PART_ROWS):
        at = order[start : start + PART_ROWS]
        yield table(at, right[at], valid[at], verdict)


def table(at: Any, right: Any, valid: Any, verdict: str) -> pa.Table:
    """The rows of samples with these numbers."""
    n, rng = len(at), np.random.default_rng(int(at[0]))
    failed, undefined = rng.random(n) < FAILED, rng.random(n) < UNDEFINED
    judged = ~failed & ~undefined
    share = np.where(valid, 0.5 + rng.random(n) / 2, rng.random(n) / 2).astype(np.float32)
    label = np.char.add("class ", (at % CLASSES).astype(str))
    values: dict[str, Any] = {
        "id": np.char.add(np.char.add("train/images/", at.astype(str)), ".jpg"),
        "head": np.full(n, HEAD),
        "label": label,
        "prediction": pa.array(np.where(right, label, "another class"), mask=failed),
        "probability": _floats(rng.random(n), ~failed),
        "correct": pa.array(right, mask=failed),
        "explained": pa.array(label, mask=failed),
        "area": _floats(rng.random(n), ~failed),
        "valid": pa.array(valid, mask=~judged),
        "undefined_reason": pa.array(np.full(n, "no-evidence"), mask=~undefined | failed),
        "forwards": np.where(failed, 0, rng.integers(9, 65, n)).astype(np.int32),
        "settled": np.full(n, "decided"),
        "error": pa.array(np.full(n, "cannot be decoded"), mask=~failed),
        "group": np.char.add("group ", (at % GROUPS).astype(str)),
        "content": [rng.bytes(8) for _ in range(n)],
    }
    measured = SWAPPED if verdict == "swap" else MAPPED
    values |= {name: _floats(share if name in DECIDING else rng.random(n), judged) for name in measured}
    if verdict == "swap":
        values |= {"fills": pa.array(rng.integers(4, 32, n).astype(np.int32), mask=failed)}
    else:
        values |= {"ceiling": _floats(np.full(n, 0.9), judged), "floor": _floats(np.full(n, 0.1), judged)}
        values |= {"evidence_sketch": [rng.bytes(2 * SKETCH**2) for _ in range(n)]}
        values |= {"region_sketch": [rng.bytes(SKETCH**2) for _ in range(n)]}
    none = {field.name: pa.nulls(n, field.type) for field in SCHEMA}
    return pa.table([pa.array(one).cast(SCHEMA.field(name).type) for name, one in (none | values).items()], SCHEMA)


def _floats(values: Any, known: Any) -> pa.Array:
    return pa.array(values.astype(np.float32), mask=~known)


def document(rows: int, verdict: str, weights: str) -> RunDocument:
    """The run.json of a run of so many samples."""
    measurement = Measurement(verdict="swap", fills=8) if verdict == "swap" else Measurement(masks=100)
    geometry = {"size": 224, "resize": 224, "mean": [0.5] * 3, "std": [0.25] * 3}
    of_run = {"schema": schema_id(RunDocument), "numerics": NUMERICS, "weights": weights, "data": "d" * 64}
    return made(
        RunDocument,
        {
            "status": "complete",
            "key": weights,
            "measurement": measurement.to_json(),
            "identity": of_run | {"geometry": geometry, "pixel_path": "pillow", "backend": "fake", "precision": "f32"},
            "rule": measurement.rule(),
            "execution": {"max_errors": 0.1},
            "origin": dict.fromkeys(("artifact", "data", "split", "limit", "shard")),
            "heads": [{"name": HEAD, "classes": CLASSES}],
            "samples": {"planned": rows, "available": rows},
            "versions": {},
            "machine": {},
            "started": None,
            "finished": None,
            "sessions": [RunStats(samples=rows, seconds=1.0)],
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
