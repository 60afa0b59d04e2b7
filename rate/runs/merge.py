"""The merge of the runs of a set's shards to one run, by one reading of all rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from rate.errors import RunError
from rate.files import new_folder
from rate.outputs import require_new_folder
from rate.records import plain
from rate.runs.folder import SAVED
from rate.runs.maps import lowest_in
from rate.runs.part_list import ListedPart, PartLog, read_list
from rate.runs.parts import ids_of, iter_parts, write_table
from rate.runs.run_document import RunDocument, SampleCounts, data_of, differing, located, read_run, write_run
from rate.runs.sort_parts import SORTED_ROWS, StoredTwiceError, write_in_order
from rate.runs.summary.summarise import Summary, load_summary, summarize, write_summary

STUDIES = ("faithfulness.json", "precision.json")
"""Files beside a run that cannot be merged, because they were measured on some samples of one shard."""


def merge(folders: Sequence[Path], out: Path) -> Summary:
    """Write one run with the samples of all; it is complete if they are the whole set.

    The run is written all or nothing; leftovers of a killed merge beside ``out`` are removed by the next one.

    Raises:
        RunError: one is no run, has other settings or samples that another has too.
        UsageError: ``out`` is not empty, or cannot be written.
        StorageError: the disk is full.
    """
    runs = [read_run(folder) for folder in folders]
    _check_same(folders, runs)
    require_new_folder("a merge writes a new run: --out", out)
    with new_folder(out) as made:
        parts = _copy_rows(folders, runs, made)
        PartLog(made).replace(parts)
        _merge_maps(folders, made, runs[0].execution.get("save_maps"))
        merged = _merged(folders, runs, parts, out)
        write_run(made, merged)
        write_summary(made, summarize(made, merged))
    return load_summary(out)


def left_behind(folders: Sequence[Path]) -> list[Path]:
    """List the files of the runs that a merged run does not have."""
    return [folder / name for folder in folders for name in STUDIES if (folder / name).exists()]


def _check_same(folders: Sequence[Path], runs: Sequence[RunDocument]) -> None:
    for folder, run in zip(folders, runs, strict=True):
        if run.key != runs[0].key:
            what = differing(run, runs[0].measurement, plain(runs[0].identity), (f"in {folder}", f"in {folders[0]}"))
            raise RunError(
                f"{folder} and {folders[0]} have other settings ({what}); "
                "shards of one run are evaluated with one artifact, one data set and one measurement"
            )


def _copy_rows(folders: Sequence[Path], runs: Sequence[RunDocument], out: Path) -> list[ListedPart]:
    """Read every run once, with all checks, and write its rows in order of rank, in which a sample of two is found."""
    (out / "samples").mkdir()
    (out / "maps").mkdir()
    rows = sum(part.rows for folder, run in zip(folders, runs, strict=True) for part in read_list(folder, run.rows))
    tables = (table for folder, run in zip(folders, runs, strict=True) for table in iter_parts(folder, run))
    try:
        return write_in_order(out, runs[0].key, tables, rows, SORTED_ROWS)
    except StoredTwiceError as error:
        holders = [str(one) for one, run in zip(folders, runs, strict=True) if error.sample in set(ids_of(one, run))]
        first, second = holders[:2]
        raise RunError(
            f"{first} and {second} both hold sample {error.sample!r}; give every run once, and each shard to one run"
        ) from error


def _merge_maps(folders: Sequence[Path], out: Path, keep: int | None) -> None:
    kept = lowest_in([folder / "maps" / SAVED for folder in folders], keep)
    if len(kept):
        write_table(kept, out / "maps" / SAVED)


def _merged(
    folders: Sequence[Path], runs: Sequence[RunDocument], parts: Sequence[ListedPart], out: Path
) -> RunDocument:
    """Make run.json of all: that of the first, with the sessions of all runs."""
    first = runs[0]
    available, started = first.samples.available, [run.started for run in runs if run.started is not None]
    stored = sum(part.rows for part in parts) // len(first.heads)
    failed = sum(part.errors for part in parts) // len(first.heads)
    data = next(iter(data_of(first.origin, folders[0])), None)
    origin = located(replace(first.origin, data=data), out)
    return replace(
        first,
        status="failed" if stored and failed == stored else "complete" if stored == available else "partial",
        origin=replace(origin, data=first.origin.data, shard=", ".join(str(run.origin.shard) for run in runs)),
        samples=SampleCounts(sum(run.samples.planned for run in runs), available),
        started=min(started) if len(started) == len(runs) else None,
        finished=max((run.finished for run in runs if run.finished), default=None),
        sessions=tuple(session for run in runs for session in run.sessions),
        rows=sum(part.rows for part in parts),
    )
