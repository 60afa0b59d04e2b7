"""python -m benchmarks.faults [CAMPAIGN ...] [--out FILE] [--budget-minutes N] [--case NAME]

Writes benchmarks/results/faults.json: cases tried and what came of them, by campaign and category. A case is made
again by its name: `--case kills/eval/17`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.faults.file_operations import with_library

CAMPAIGNS = {
    "kills": "SIGKILL at every file operation of eval, merge, pack, repair, export and a corruption grid",
    "full_disks": "ENOSPC from every write operation on, and EIO at every one",
    "bit_flips": "one flipped bit in a file of a finished run",
    "hostile": "images, sets, documents, models and names made to hurt",
    "changing_sets": "sets that change while they are evaluated, or between two sessions",
}
SHOWN = 12
"""Failing cases listed, a campaign."""


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description="; ".join(CAMPAIGNS.values()))
    parser.add_argument("campaigns", nargs="*", choices=[[], *CAMPAIGNS], help="all, if none is named")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/faults.json"))
    parser.add_argument("--budget-minutes", type=float, help="for all campaigns together; no limit")
    parser.add_argument("--cases", type=int, help="at most so many cases a campaign, drawn evenly")
    parser.add_argument("--case", help="only that one, and say what came of it")
    parser.add_argument("--only", default="", help="only cases whose name begins with one of these, with commas")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    return parser.parse_args()


def carried_out(cases: list[Any], root: Path, jobs: int, deadline: float) -> list[dict[str, Any]]:
    """The outcomes, of as many cases as there is time for; each job is a process of its own."""
    from benchmarks.faults.outcome import tried

    children = []
    for job in range(jobs):
        sys.stdout.flush()
        if pid := os.fork():
            children.append(pid)
            continue
        with (root / f"outcomes-{job}").open("w") as file:
            for case in cases[job::jobs]:
                if time.monotonic() > deadline:
                    break
                folder = root / "cases" / case.name
                folder.mkdir(parents=True)
                outcome = tried(case, folder)
                file.write(json.dumps(asdict(outcome)) + "\n")
                if outcome.failed:
                    print(f"{outcome.name}: {outcome.outcome}: {outcome.detail[:300]}", flush=True)
                shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)
    for pid in children:
        os.waitpid(pid, 0)
    texts = [(root / f"outcomes-{job}").read_text() for job in range(jobs)]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def figures(planned: int, outcomes: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Counts by category, and the first failures."""
    categories = sorted({outcome["category"] for outcome in outcomes})
    counts = {name: Counter(o["outcome"] for o in outcomes if o["category"] == name) for name in categories}
    failed = sorted((o for o in outcomes if o["failed"]), key=lambda o: o["name"])
    return {
        "planned": planned,
        "cases": len(outcomes),
        "failures": len(failed),
        "failures_by_kind": Counter(o["outcome"] for o in failed),
        "outcomes": counts,
        "seconds": round(seconds),
        "failing": {o["name"]: f"{o['outcome']}: {o['detail'][:400]}" for o in failed[:: max(1, len(failed) // SHOWN)]},
    }


def main() -> int:
    """Carry out the campaigns; 1 if anything failed."""
    asked = parsed()
    names = asked.campaigns or list(CAMPAIGNS)
    if asked.case:
        asked.only, names = asked.case, [asked.case.split("/")[0]]
    from benchmarks.faults.material import Material
    from benchmarks.faults.process import warm_up
    from benchmarks.record import write

    warm_up()
    found: dict[str, Any] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rate-faults-", ignore_cleanup_errors=True) as folder:
        material = Material(Path(folder) / "material")
        for k, name in enumerate(names):
            root, start = Path(folder) / name, time.monotonic()
            root.mkdir()
            cases = importlib.import_module(f"benchmarks.faults.{name}").cases(material)
            wanted = tuple(filter(None, asked.only.split(",")))
            cases = [c for c in cases if (c.name == asked.case if asked.case else c.name.startswith(wanted or ""))]
            for case in cases[: asked.cases]:
                case.prepare()
            left = None if asked.budget_minutes is None else 60 * asked.budget_minutes - (start - began)
            deadline = float("inf") if left is None else start + left / (len(names) - k)
            outcomes = carried_out(cases[: asked.cases], root, asked.jobs, deadline)
            found[name] = figures(len(cases), outcomes, time.monotonic() - start)
            shutil.rmtree(root, ignore_errors=True)
    if asked.case:
        print(json.dumps(found, indent=2))
    else:
        write(asked.out.stem, found, asked.out.parent)
    return int(any(campaign["failures"] for campaign in found.values()))


if __name__ == "__main__":
    with_library()
    code = main()
    sys.stdout.flush()
    os._exit(code)  # not through the destructors of every library that was imported
