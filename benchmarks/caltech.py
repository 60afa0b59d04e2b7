"""A real dual encoder on real photographs: zero-shot, LP, FT and FLCP evaluated, compared, reported and gated.

Every step is a command of `rate`, started in its own process as a user would; the transcript is the result. The data
is a folder with `caltech101-boxes` and `open_clip_efflite0_caltech`, named by RATE_TEST_DATA.

    RATE_TEST_DATA=FOLDER python -m benchmarks.caltech [--work build/caltech] [--epochs 4]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import record

PROMPTS = {"airplanes": "airplane", "Faces": "face", "Motorbikes": "motorbike"}
"""What a class is called in a prompt, where that is not its label."""

ARTIFACTS = ("zs-lp", "ft", "flcp")
"""Zero-shot and LP are two heads on one tower."""

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
max = 200
"""
STRADDLES = """
[[check]]
metric = "pt"
min = {pt}
name = "as high as was measured"
"""


@dataclass
class Transcript:
    """Commands and what they printed to stdout."""

    home: dict[str, str]  # path -> what the transcript calls it
    lines: list[str] = field(default_factory=list)

    def run(self, command: str, expect: int = 0, shown: int | None = None) -> str:
        """Run a command; ``shown`` lines of its output are kept, all of them by default."""
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)], stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode != expect:
            raise SystemExit(f"{command}: exit code {done.returncode}, expected {expect}")
        output = done.stdout.rstrip().splitlines()
        self.lines += [f"$ {command}", *output[:shown], f"[exit {done.returncode}]", ""]
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
    arguments = parser.parse_args()
    work = arguments.work
    transcript = Transcript({os.environ["RATE_TEST_DATA"]: "DATA", f"{work}/": ""})
    data = photographs()
    models(transcript, work, arguments.epochs)
    for name in ARTIFACTS:
        transcript.run(f"rate eval {work}/{name} {data} --split test --out {work}/run-{name}")
    runs = f"{work}/run-zs-lp {work}/run-ft {work}/run-flcp"
    transcript.run(f"rate compare {runs}")
    transcript.run(f"rate report {runs} --out {work}/report.html --force")
    gate(transcript, work)
    (record.RESULTS / "caltech_four.txt").write_text(transcript.text())
    print(transcript.text())


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


def gate(transcript: Transcript, work: Path) -> None:
    """A gate that passes, one that fails, one that cannot tell."""
    shown = json.loads(transcript.run(f"rate show {work}/run-ft --json", shown=0))
    pt = shown["heads"]["ft"]["pt"]["value"]
    policies = {"passes": (PASSES, 0), "fails": (FAILS, 1), "straddles": (STRADDLES.format(pt=round(pt, 3)), 3)}
    for name, (text, code) in policies.items():
        policy = work / f"{name}.toml"
        policy.write_text(text.lstrip())
        transcript.lines += [f"$ cat {policy}", *text.strip().splitlines(), ""]
        transcript.run(f"rate gate {work}/run-ft --policy {policy}", expect=code)


if __name__ == "__main__":
    main()
