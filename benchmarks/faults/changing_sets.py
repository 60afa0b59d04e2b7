"""Sets that change while they are evaluated, or between two sessions: refused, or all rows are of the set as it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.faults import rows
from benchmarks.faults.file_operations import Action, Fault, operations
from benchmarks.faults.material import Material, copied, evaluation, tar_of, write_set
from benchmarks.faults.outcome import Case, Failure
from benchmarks.faults.process import rate

COUNT = 200
FIRST, LAST = 3, COUNT - 4
"""Samples that are evaluated before and after the change."""


def edited(name: str, change: Callable[[list[str]], list[str]], folder: Path) -> None:
    """Rewrite a manifest, line by line."""
    lines = (folder / name).read_text().splitlines()
    (folder / name).write_text("\n".join(change(lines)) + "\n")


def relabelled(lines: list[str]) -> list[str]:
    """Every label another class, of another length."""
    turn = {"red": "green", "green": "blue", "blue": "red"}
    return [
        lines[0],
        *(next(x.replace(f'"{a}"', f'"{b}"') for a, b in turn.items() if f'"{a}"' in x) for x in lines[1:]),
    ]


def other_picture(folder: Path, k: int = LAST) -> Path:
    """Another picture of the same size, elsewhere."""
    other = folder.parent / "other"
    if not other.exists():
        other.mkdir()
        write_set(other, COUNT, seed=1)
    return other / f"{k}.png"


def truncate(path: Path, keep: float = 0.5) -> None:
    """Cut a file off."""
    os.truncate(path, int(path.stat().st_size * keep))


def all_pictures(folder: Path) -> None:
    """Other pictures under the same names."""
    other_picture(folder)
    for k in range(COUNT):
        shutil.copy(folder.parent / "other" / f"{k}.png", folder / f"{k}.png")


def linked(folder: Path) -> None:
    """A picture becomes a link to another file."""
    (folder / f"{LAST}.png").unlink()
    (folder / f"{LAST}.png").symlink_to(other_picture(folder))


def other_shard(folder: Path) -> None:
    """A shard with the same samples, half of them under other labels."""
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    changed = [row | {"label": "red"} if k > COUNT // 2 else row for k, row in enumerate(lines)]
    (folder / "set.tar").write_bytes(tar_of(folder, changed))


def damaged_shard(folder: Path) -> None:
    """A header in the middle of a shard is overwritten."""
    data = bytearray((folder / "set.tar").read_bytes())
    at = 512 * (len(data) // 1024)
    data[at : at + 2048] = bytes(255 for _ in range(2048))
    (folder / "set.tar").write_bytes(bytes(data))


def other_table(name: str, folder: Path) -> None:
    """The same rows, each under its neighbour's label."""
    table = pq.ParquetFile(folder / name).read(use_threads=False).to_pylist()
    labels = [row["label"] for row in table]
    import pyarrow as pa

    changed = [row | {"label": label} for row, label in zip(table, labels[1:] + labels[:1], strict=True)]
    pq.write_table(pa.Table.from_pylist(changed), folder / name, row_group_size=8)


def replaced(name: str, source: Callable[[Path], Path], folder: Path) -> None:
    """Another file takes the name."""
    shutil.copy(source(folder), folder / "incoming")
    (folder / "incoming").replace(folder / name)


CHANGES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "labels-rewritten": ("manifest.csv", partial(edited, "manifest.csv", relabelled)),
    "labels-rewritten-jsonl": ("manifest.jsonl", partial(edited, "manifest.jsonl", relabelled)),
    "ids-duplicated": ("manifest.csv", partial(edited, "manifest.csv", lambda lines: [*lines, lines[1], lines[-1]])),
    "ids-renamed": (
        "manifest.csv",
        partial(edited, "manifest.csv", lambda lines: [x.replace('"s', '"t') for x in lines]),
    ),
    "rows-reversed": ("manifest.csv", partial(edited, "manifest.csv", lambda lines: [lines[0], *lines[:0:-1]])),
    "manifest-cut": ("manifest.csv", partial(edited, "manifest.csv", lambda lines: lines[: COUNT // 2])),
    "manifest-truncated": ("manifest.csv", lambda folder: truncate(folder / "manifest.csv")),
    "manifest-grown": (
        "manifest.csv",
        partial(edited, "manifest.csv", lambda lines: [*lines, lines[1].replace('"s0"', '"s-new"')]),
    ),
    "manifest-deleted": ("manifest.csv", lambda folder: (folder / "manifest.csv").unlink()),
    "image-replaced": ("manifest.csv", partial(replaced, f"{LAST}.png", other_picture)),
    "image-of-the-past-replaced": ("manifest.csv", partial(replaced, "0.png", partial(other_picture, k=0))),
    "all-images-replaced": ("manifest.csv", all_pictures),
    "image-truncated": ("manifest.csv", lambda folder: truncate(folder / f"{LAST}.png")),
    "image-linked": ("manifest.csv", linked),
    "image-deleted": ("manifest.csv", lambda folder: (folder / f"{LAST}.png").unlink()),
    "mask-replaced": ("masks.csv", lambda folder: shutil.copy(folder / "0-mask.png", folder / f"{LAST}-mask.png")),
    "shard-replaced": ("set.tar", other_shard),
    "shard-damaged": ("set.tar", damaged_shard),
    "shard-truncated": ("set.tar", lambda folder: truncate(folder / "set.tar")),
    "parquet-replaced": ("manifest.parquet", partial(other_table, "manifest.parquet")),
    "parquet-images-replaced": ("images.parquet", partial(other_table, "images.parquet")),
    "parquet-images-truncated": ("images.parquet", lambda folder: truncate(folder / "images.parquet")),
}
WHEN = ("one-process", "two-workers", "between-sessions")


class Sets:
    """The set and its finished runs, one for each form of the manifest."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.images = material.images(COUNT)
        self.whole: dict[str, tuple[dict[str, Any], int]] = {}

    def command(self, data: str, *more: str) -> list[str]:
        """The evaluation; the set lies in the folder where it works."""
        return evaluation(self.material.artifact, f"set/{data}", "run", "--masks", "10", *more)

    def expected(self, data: str) -> tuple[dict[str, Any], int]:
        """The rows of an undisturbed run, and the operation at which its second part is listed."""
        if data not in self.whole:
            work = self.material.root / data / "work"
            work.mkdir(parents=True)
            copied(self.images, work / "set")
            ended = rate(self.command(data), work, Fault(Action.COUNT))
            if ended.code:
                raise SystemExit(f"rate {ended.command} ended with {ended.code}: {ended.said}")
            done = operations(work.with_name("work-process") / "operations")
            listed = [k for k, what in enumerate(done, 1) if what == "open run/parts.jsonl"]
            self.whole[data] = {"/".join(key): row for key, row in rows.rows(work / "run").items()}, listed[1]
        return self.whole[data]


def changing(sets: Sets, name: str, when: str, folder: Path) -> str:
    """Evaluate a set that changes after some parts were stored."""
    data, change = CHANGES[name]
    expected, moment = sets.expected(data)
    work = folder / "work"
    work.mkdir()
    copied(sets.images, work / "set")
    command = sets.command(data, *(("--workers", "2") if when == "two-workers" else ()))
    stored = None
    if when == "between-sessions":
        ended = rate(command, work, Fault(Action.KILL, moment))
        if ended.code != -signal.SIGKILL:
            raise Failure("check", f"not killed: {ended.code}: {ended.said[-300:]}")
        stored = {"/".join(key) for key in rows.rows(work / "run")}
        change(work / "set")
        ended = rate(command, work)
    else:
        ended = rate(command, work, Fault(Action.STOP, moment), stopped=lambda: change(work / "set"))
    if ended.code == 2 and ended.errors:
        return "refused"
    if ended.code not in (0, 4):
        raise Failure("exit code", f"{ended.code}: {ended.said.strip()[-300:]}")
    read = stored if name.startswith(("image-", "mask-")) else None
    return consistent(expected, work / "run", ended.code, ended.said, read)


def consistent(expected: dict[str, Any], run: Path, code: int, said: str, read: set[str] | None = None) -> str:
    """Whether a run that was not refused holds the set as it was; samples may have failed, and say so.

    Args:
        expected: the rows of an undisturbed run.
        run: the run.
        code: how the command ended.
        said: its messages.
        read: of a picture that changed between two sessions: the samples that the first one stored. What no session
            had read by then was never another picture, as far as the run can know.
    """
    found = {"/".join(key): row for key, row in rows.rows(run).items()}
    status = json.loads((run / "run.json").read_text())["status"]
    failed = {key for key, row in found.items() if row["error"]}
    place = f"exit code {code}, {status}, {len(found)} of {len(expected)} rows, {len(failed)} with an error"
    if code == 4 and status != "complete":
        return "stopped"
    if found.keys() != expected.keys():
        raise Failure("lost" if expected.keys() - found.keys() else "mixed", f"{place}; {said.strip()[-200:]}")
    changed = [key for key in found.keys() - failed if rows.difference(expected[key], found[key])]
    if changed and read is not None and not read.intersection(changed):
        return "as it was when it was first read"
    if changed:
        raise Failure(
            "mixed", f"{place}, {len(changed)} differ: {rows.difference(expected[changed[0]], found[changed[0]])}"
        )
    return "errors of samples" if failed else "the set as it was"


def cases(material: Material) -> list[Case]:
    """Every change at every time."""
    sets = Sets(material)
    return [
        Case(
            f"changing_sets/{when}/{name}",
            lambda folder, n=name, w=when: changing(sets, n, w, folder),
            partial(sets.expected, data),
        )
        for when in WHEN
        for name, (data, _) in CHANGES.items()
    ]
