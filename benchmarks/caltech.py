"""A real dual encoder on real photographs: zero-shot, LP, FT and FLCP evaluated, compared, reported and gated.

Every step is a command of `rate`, started in its own process as a user would; the transcript is the result. The data
is a folder with `caltech101-boxes` and `open_clip_efflite0_caltech`, named by RATE_TEST_DATA.

    RATE_TEST_DATA=FOLDER python -m benchmarks.caltech [--work build/caltech] [--epochs 4] [--steps models swap map]

Steps may be run one after another; what the others printed is kept in --work.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import record
from rate.records import plain
from rate.runs.summary.summarise import HeadSummary, load_summary, ratio_json

PROMPTS = {"airplanes": "airplane", "Faces": "face", "Motorbikes": "motorbike"}
"""What a class is called in a prompt, where that is not its label."""

ARTIFACTS = ("zs-lp", "ft", "flcp")
"""Zero-shot and LP are two heads on one tower."""

STEPS = ("models", "swap", "map")
METHODS = {"zs": "zero-shot", "lp": "LP", "ft": "FT", "flcp": "FLCP"}

PASSES = """
[[check]]
metric = "pt"
min = 0.80
min_samples = 100

[[check]]
metric = "accuracy"
min = 0.85
"""
FAILS = """
[[check]]
metric = "undefined"
max = 0

[[check]]
metric = "forwards"
max = 8
"""
STRADDLES = """
[[check]]
metric = "pt"
min = {pt}
name = "as high as was measured, below 1"
"""


@dataclass
class Transcript:
    """Commands and what they printed to stdout."""

    home: dict[str, str]  # path -> what the transcript calls it
    lines: list[str] = field(default_factory=list)
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)  # command -> wall and processor time

    def run(self, command: str, expect: int = 0, shown: int | None = None) -> str:
        """Run a command; ``shown`` lines of its output are kept, all of them by default."""
        began, before = time.perf_counter(), _processor_time()
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)], stdout=subprocess.PIPE, text=True, check=False
        )
        self.seconds[command] = (time.perf_counter() - began, _processor_time() - before)
        if done.returncode != expect:
            raise SystemExit(f"{command}: exit code {done.returncode}, expected {expect}")
        output = done.stdout.rstrip().splitlines()
        taken = "{:.0f} s, {:.0f} s of a processor".format(*self.seconds[command])
        self.lines += [f"$ {command}", *output[:shown], f"[exit {done.returncode}; {taken}]", ""]
        print(self.lines[-2], command, flush=True)
        return done.stdout

    def text(self) -> str:
        """Everything, with the names of folders instead of their paths."""
        text = "\n".join(self.lines)
        for path, name in self.home.items():
            text = text.replace(path, name)
        return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


def main() -> None:
    """Run and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/caltech"))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--map-shard", default="1/1", help="share of the photographs that maps are drawn of")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    arguments = parser.parse_args()
    work = arguments.work
    for step in STEPS:
        if step not in arguments.steps:
            continue
        transcript = Transcript({os.environ["RATE_TEST_DATA"]: "DATA", f"{work}/": ""})
        if step == "models":
            models(transcript, work, arguments.epochs)
        else:
            rows = evaluations(transcript, work, step, arguments.map_shard if step == "map" else "1/1")
            (work / f"{step}.json").write_text(json.dumps(rows))
        (work / f"{step}.txt").write_text(transcript.text())
    printed = [work / f"{step}.txt" for step in STEPS if (work / f"{step}.txt").exists()]
    (record.RESULTS / "caltech_four.txt").write_text("\n".join(path.read_text() for path in printed))
    measured = {step: work / f"{step}.json" for step in STEPS if (work / f"{step}.json").exists()}
    record.write("caltech_four", {step: json.loads(path.read_text()) for step, path in measured.items()})


def evaluations(transcript: Transcript, work: Path, verdict: str, shard: str) -> list[dict[str, Any]]:
    """Evaluate `ARTIFACTS` by swaps or by maps, and return the numbers of every head.

    No maps are saved, so that the time is that of the verdicts.
    """
    runs, rows = [f"{work}/run-{verdict}-{name}" for name in ARTIFACTS], []
    for name, run in zip(ARTIFACTS, runs, strict=True):
        settings = f"--split test --shard {shard} --verdict {verdict} --save-maps none"
        command = f"rate eval {work}/{name} {photographs()} {settings} --out {run}"
        transcript.run(command)
        wall, processor = transcript.seconds[command]
        summary = load_summary(Path(run))
        taken = {"wall_s": round(wall, 1), "processor_s": round(processor, 1), "heads_of_run": len(summary.heads)}
        rows += [{"method": METHODS[head], **figures(found), **taken} for head, found in summary.heads.items()]
    transcript.run(f"rate compare {' '.join(runs)}")
    if verdict == "swap":
        transcript.run(f"rate report {' '.join(runs)} --out {work}/report.html --force")
        gate(transcript, work, runs[1])
    return rows


def figures(found: HeadSummary) -> dict[str, Any]:
    """The numbers of one head."""
    swap = found.swap
    return {
        "accuracy": ratio_json(found.accuracy),
        "pt": ratio_json(found.pt.ratio),
        "uniform": found.pt.uniform,
        "shuffled": found.pt.shuffled,
        "ir": ratio_json(found.ir.ratio),
        "undefined": found.undefined_by,
        "not_clear": found.counts.capped,
        "forwards_of_an_image": found.forwards_mean,
        "swap": None if swap is None else plain(swap),
    }


def _processor_time() -> float:
    """Seconds of user and system time of all processes that this one has started and waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def photographs() -> str:
    """The manifest."""
    return f"{os.environ['RATE_TEST_DATA']}/caltech101-boxes/annotations.csv"


def models(transcript: Transcript, work: Path, epochs: int) -> None:
    """Fine-tune the encoder and export `ARTIFACTS` to ``work``."""
    work.mkdir(parents=True, exist_ok=True)
    source = f"open_clip:local-dir:{os.environ['RATE_TEST_DATA']}/open_clip_efflite0_caltech"
    prompts = work / "prompts.json"
    names = ("airplanes", "Faces", "Motorbikes", "butterfly", "dalmatian", "dolphin")
    prompts.write_text(json.dumps({name: PROMPTS.get(name, name) for name in names}))
    finetune(transcript, work, source, photographs(), prompts, epochs)


def finetune(transcript: Transcript, work: Path, source: str, data: str, prompts: Path, epochs: int) -> None:
    """LP, FT and FLCP of the same encoder, and their artifacts; what exists is not made again."""
    common = f"{source} {data} --split train --val-split test --force"
    steps = {
        "lp": f"rate finetune lp {common} --out {work}/checkpoint-lp",
        "ft": f"rate finetune ft {common} --epochs {epochs} --batch 32 --lr 1e-4 --out {work}/checkpoint-ft",
        "flcp": f"rate finetune flcp {common} --epochs {epochs} --batch 32 --classes {prompts}"
        f" --out {work}/checkpoint-flcp",
    }
    for step in steps.values():
        transcript.run(step)
    transcript.run(
        f"rate export {source} --classes {prompts} --head lp=linear:{work}/checkpoint-lp --out {work}/zs-lp --force"
    )
    for name in ("ft", "flcp"):
        transcript.run(f"rate export {work}/checkpoint-{name} --out {work}/{name} --force")


def gate(transcript: Transcript, work: Path, run: str) -> None:
    """A gate that passes, one that fails, one that cannot tell."""
    shown = json.loads(transcript.run(f"rate show {run} --json", shown=0))
    pt = min(round(shown["heads"]["ft"]["pt"]["value"], 3), 0.999)
    policies = {
        "passes": (PASSES, 0),
        "fails": (FAILS, 1),
        "straddles": (STRADDLES.format(pt=pt), 3),
    }
    for name, (text, code) in policies.items():
        policy = work / f"{name}.toml"
        policy.write_text(text.lstrip())
        transcript.lines += [f"$ cat {policy}", *text.strip().splitlines(), ""]
        transcript.run(f"rate gate {run} --policy {policy}", expect=code)


if __name__ == "__main__":
    main()
