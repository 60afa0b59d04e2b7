"""Runs of the shards of one set to one run: parts are copied as they are, and listed together."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from rate.artifacts.documents import disagreement
from rate.data.digests import IdSet
from rate.errors import RunError
from rate.files import new_folder, write_json
from rate.outputs import require_new_folder
from rate.runs.parts import ids_of, lowest_ranks, read_maps, read_part, write_table
from rate.runs.rows import MAP_SCHEMA
from rate.runs.run_schema import RUN
from rate.runs.store import read_run
from rate.runs.summary import Summary, load_summary, summarize, write_summary
from rate.types import Json


def merge(folders: Sequence[Path], out: Path) -> Summary:
    """Write one run with the samples of all; it is complete when they are the whole set.

    Raises:
        RunError: one is no run, has other settings or samples that another has too.
        UsageError: ``out`` holds something, or cannot be written.
        StorageError: the disk is full.
    """
    runs = [_whole(folder) for folder in folders]
    _check_same(folders, runs)
    _check_apart(folders, runs)
    require_new_folder("a merge writes a new run: --out", out)
    with new_folder(out) as made:
        parts = _copied(folders, runs, made)
        _merge_maps(folders, made, runs[0]["execution"].get("save_maps"))
        merged = _merged(runs, parts)
        write_json(made / "run.json", merged)
        write_summary(made, summarize(made, merged))
    return load_summary(out)


def _whole(folder: Path) -> Json:
    run = read_run(folder)
    if wrong := disagreement(run, RUN):
        raise RunError(f"{folder / 'run.json'} is malformed: {wrong}; it was changed, or written by another version")
    return run


def _copied(folders: Sequence[Path], runs: Sequence[Json], out: Path) -> list[Json]:
    (out / "samples").mkdir()
    (out / "maps").mkdir()
    parts = []
    for folder, run in zip(folders, runs, strict=True):
        for part in run["parts"]:
            read_part(folder, part, ["id"])  # a damaged one is refused here, not by whoever reads the merged run
            shutil.copyfile(folder / "samples" / part["name"], out / "samples" / part["name"])
            parts.append(part)
    return parts


def _check_same(folders: Sequence[Path], runs: Sequence[Json]) -> None:
    for folder, run in zip(folders, runs, strict=True):
        if run["key"] != runs[0]["key"]:
            raise RunError(
                f"{folder} and {folders[0]} have other settings (keys {run['key'][:12]} and {runs[0]['key'][:12]}); "
                "shards of one run are evaluated with one artifact, one data set and one measurement"
            )


def _check_apart(folders: Sequence[Path], runs: Sequence[Json]) -> None:
    for first, second in itertools.combinations(range(len(folders)), 2):
        known = IdSet(ids_of(folders[first], runs[first]))
        twice = next((one for one in ids_of(folders[second], runs[second]) if one in known), None)
        if twice is not None:
            raise RunError(
                f"{folders[first]} and {folders[second]} both hold sample {twice!r}; give every run once, and each "
                "shard to one run"
            )


def _merge_maps(folders: Sequence[Path], out: Path, keep: int | None) -> None:
    kept = MAP_SCHEMA.empty_table()
    for path in (folder / "maps" / "maps.parquet" for folder in folders):
        if path.exists():
            kept = lowest_ranks(pa.concat_tables([kept, read_maps(path)]), keep)
    if len(kept):
        write_table(kept, out / "maps" / "maps.parquet")


def _merged(runs: Sequence[Json], parts: Sequence[Json]) -> Json:
    """run.json of all: that of the first, with the sessions and parts of everyone."""
    first = runs[0]
    heads, available = len(first["heads"]), first["samples"]["available"]
    stored = sum(part["rows"] for part in parts) // heads
    return first | {
        "status": "complete" if stored == available else "partial",
        "origin": first["origin"] | {"shard": ", ".join(str(run["origin"].get("shard")) for run in runs)},
        "samples": {"planned": sum(run["samples"]["planned"] for run in runs), "available": available},
        "started": min(run["started"] for run in runs),
        "finished": max((run["finished"] for run in runs if run["finished"]), default=None),
        "sessions": [session for run in runs for session in run["sessions"]],
        "parts": list(parts),
    }
