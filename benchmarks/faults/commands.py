"""Commands that write, each with what it leaves: they are killed, and fail, at every file operation."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.faults import rows
from benchmarks.faults.file_operations import Action, Fault, operations
from benchmarks.faults.material import EXPORT, Material, copied, evaluation
from benchmarks.faults.outcome import Failure
from benchmarks.faults.process import Ended, rate

OURS = {"keep.txt": "not a file of rate", ".keep.json.1.tmp": "nor this one"}
"""Files of somebody else, beside what the command writes."""


@dataclass(frozen=True)
class Command:
    """A command that writes ``out`` in the folder where it works."""

    name: str
    arguments: list[str]
    out: str
    read: Callable[[Path], dict[str, Any]]  # of what it wrote
    prepare: Callable[[Path], object] = field(default=lambda folder: None)

    def set_up(self, folder: Path) -> None:
        """Everything that is there before."""
        folder.mkdir(parents=True)
        for name, text in OURS.items():
            (folder / name).write_text(text)
        self.prepare(folder)

    def whole(self, folder: Path) -> tuple[dict[str, Any], set[str], list[str]]:
        """What it leaves uninterrupted, the names of all files then, and its file operations."""
        self.set_up(folder)
        ended = rate(self.arguments, folder, Fault(Action.COUNT))
        if ended.code:
            raise SystemExit(f"rate {ended.command} ended with {ended.code}: {ended.said}")
        done = operations(folder.with_name(folder.name + "-process") / "operations")
        return self.read(folder / self.out), rows.names(folder), done


def telling(done: list[str]) -> list[int]:
    """The operations to interrupt, from 1: all, but of a row of writes the first, the middle and the last."""
    kept: list[int] = []
    for is_write, group in itertools.groupby(enumerate(done, 1), key=lambda one: one[1] == "write"):
        numbers = [number for number, _ in group]
        kept += sorted({numbers[0], numbers[len(numbers) // 2], numbers[-1]}) if is_write else numbers
    return kept


def again(command: Command, folder: Path, expected: dict[str, Any], files: set[str]) -> str:
    """Run the command again after a fault: it must leave what an uninterrupted one leaves, and nothing else.

    A command that writes a new folder may refuse one that is there, by name; then the folder is removed first, as its
    message says, unless it passes for a finished one, which must then be right.
    """
    ended, refused = rate(command.arguments, folder), False
    out = folder / command.out
    if ended.code == 2 and out.exists() and command.out in ended.said:
        refused = True
        if not whole_or_nothing(command, out, expected):
            shutil.rmtree(out)
            ended = rate(command.arguments, folder)
        else:
            ended = Ended(**(vars(ended) | {"code": 0}))
    if ended.code:
        raise Failure("exit code", f"again: {ended.code}, {ended.said.strip()[-400:]}")
    found = command.read(out)
    if "rows" in expected:
        rows.compare(expected, found)
    elif place := rows.difference(expected, found):
        raise Failure("differs", place)
    untouched(folder)
    if more := rows.names(folder) - files:
        raise Failure("litter", f"{sorted(more)[:4]}")
    return "refused, then whole" if refused else "whole"


def whole_or_nothing(command: Command, out: Path, expected: dict[str, Any]) -> bool:
    """Whether what a fault left is all of it; a part of it that says that it is complete is a failure."""
    try:
        found = command.read(out)
    except (OSError, ValueError, KeyError):
        return False
    if not rows.difference(expected, found):
        return True
    if found.get("status") == "complete":
        raise Failure("silent", f"{command.out} says that it is complete: {rows.difference(expected, found)}")
    return False


def untouched(folder: Path) -> None:
    """Files of somebody else are as they were."""
    for name, text in OURS.items():
        if not (folder / name).exists() or (folder / name).read_text() != text:
            raise Failure("foreign", f"{name} was changed")


def files_of(out: Path) -> dict[str, Any]:
    """Every file by its digest; what a tar holds, in place of its times."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        if path.suffix == ".tar":
            with tarfile.open(path) as tar:
                found |= {m.name: hashlib.sha256(tar.extractfile(m).read()).hexdigest() for m in tar if m.isfile()}
        elif path.is_file():
            found[str(path.relative_to(out))] = hashlib.sha256(path.read_bytes()).hexdigest()
    if not found:
        raise ValueError(f"{out} is empty")
    return found


def grid_of(out: Path) -> dict[str, Any]:
    """The runs of a corruption grid, side by side."""
    runs = {str(path.parent.relative_to(out)): rows.contents(path.parent) for path in sorted(out.rglob("run.json"))}
    return runs | {
        "grid": json.loads((out / "grid.json").read_text())["runs"] if (out / "grid.json").exists() else None
    }


def artifact_of(out: Path) -> dict[str, Any]:
    """Its files, and artifact.json as a document."""
    found = files_of(out)
    return found | {"artifact.json": json.loads((out / "artifact.json").read_text())}


def damaged_run(material: Material, folder: Path) -> None:
    """A finished run with a damaged part."""
    run = copied(material.run, folder / "run")
    part = sorted((run / "samples").iterdir())[1]
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 8
    part.write_bytes(bytes(data))


Whole = tuple[dict[str, Any], set[str], list[str]]


@cache
def uninterrupted(material: Material) -> list[tuple[Command, Whole]]:
    """Every command, and what it leaves when nothing happens to it."""
    return [
        (command, command.whole(material.root / f"whole-{command.name}" / "work")) for command in commands(material)
    ]


def commands(material: Material) -> list[Command]:
    """All of them."""
    images, artifact = material.images(), material.artifact
    manifest = images / "manifest.csv"
    evaluate = evaluation(artifact, manifest, "run")

    def halves(folder: Path) -> None:
        for k in "12":
            shard = evaluation(artifact, manifest, f"half-{k}", "--shard", f"{k}/2")
            copied(
                material.made(f"half-{k}", lambda made, shard=shard: rate(shard, made)) / f"half-{k}",
                folder / f"half-{k}",
            )

    export = ["export", f"onnx:{material.model}", "--out", "artifact", "--classes", str(material.classes), *EXPORT]
    grid = evaluation(artifact, images / "manifest.csv", "grid", "--corrupt", "contrast:1,brightness:2", "--limit", "8")
    return [
        Command("eval", evaluate, "run", rows.contents),
        Command("merge", ["merge", "half-1", "half-2", "--out", "run"], "run", rows.contents, halves),
        Command("pack", ["data", "pack", str(manifest), "--out", "packed", "--shard-samples", "8"], "packed", files_of),
        Command("repair", [*evaluate, "--repair"], "run", rows.contents, lambda folder: damaged_run(material, folder)),
        Command("export", export, "artifact", artifact_of),
        Command("grid", grid, "grid", grid_of),
    ]
