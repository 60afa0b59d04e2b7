"""Rows of benches in a CSV file, and a comparison with the last ones of the same configurations and machine."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias, get_args

import msgspec

from rate.bench.document import Against, Change, Quantity, RoundValues, Row, State
from rate.errors import ConfigError
from rate.files import read_text
from rate.outputs import append_output, is_stream, require_output
from rate.records import plain

History: TypeAlias = dict[tuple[str | int, ...], Row]
"""Maps each identity to its last row."""

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
_PARTS = RoundValues.__struct_fields__
COLUMNS = tuple(name for name in Row.__struct_fields__ if name not in QUANTITIES) + tuple(
    f"{name}_{part}" for name in QUANTITIES for part in _PARTS
)


def read_history(path: Path, option: str) -> History:
    """Read a file that `append` wrote.

    Raises:
        ConfigError: the file cannot be read or is another one; the message names ``option`` and the line.
    """
    try:
        lines = csv.DictReader(io.StringIO(read_text(path), newline=""))
        if tuple(lines.fieldnames or ()) != COLUMNS:
            raise ConfigError(
                f"{option} {path} is no file of this version of `rate bench`: its first line must be "
                f"{','.join(COLUMNS)}; name another file"
            )
        return {row.identity: row for row in map(_row, lines)}
    except msgspec.ValidationError as error:
        raise ConfigError(f"{option} {path} line {lines.line_num} is no row: {error}; delete the line") from error
    except (OSError, ValueError, csv.Error) as error:  # includes UnicodeDecodeError
        raise ConfigError(f"{option} {path} cannot be read: {error}; `rate bench --csv {path}` writes one") from error


def open_history(csv: Path | None, against: Path | None) -> History:
    """Read ``against``, and make the header of ``csv`` or check it, before the work that makes rows.

    Raises:
        ConfigError: one of them cannot be read or is another file.
        UsageError, StorageError: ``csv`` cannot be written.
    """
    if csv is not None:
        require_output("--csv", csv, appended=True)
        if not is_stream(csv):
            append(csv, ())
            read_history(csv, "--csv")
    return {} if against is None else read_history(against, "--against")


def append(path: Path, rows: Iterable[Row]) -> None:
    """Append rows to a file, with a header if it is new or a stream.

    Raises:
        StorageError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    end = _last_byte(path) if path.is_file() and not is_stream(path) else b""
    if not end:
        writer.writeheader()
    elif rows and end != b"\n":
        text.write("\n")
    writer.writerows(map(_cells, rows))
    append_output(path, text.getvalue().encode())


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(file.seek(0, io.SEEK_END) - 1, 0))
        return file.read(1)


def compare(rows: Iterable[Row], history: History, file: str) -> Against:
    """Compare each row with the last one of its identity in ``history``, which was read from ``file``."""
    pairs = [(row, history.get(row.identity)) for row in rows]
    compared = tuple(_change(name, *pair) for pair in pairs for name in QUANTITIES)
    states = {change.state for change in compared}
    stored = [before for _, before in pairs if before is not None]
    return Against(
        file=file,
        regression="slower" in states if states - {"unjudged", "new"} else None,
        dates=tuple(sorted({before.date for before in stored})),
        versions=tuple(sorted({before.versions for before in stored})),
        compared=compared,
    )


def _cells(row: Row) -> dict[str, Any]:
    cells: dict[str, Any] = plain(row)
    for name in QUANTITIES:
        spread = cells.pop(name) | {"rounds": " ".join(map(str, getattr(row, name).rounds))}
        cells |= {f"{name}_{part}": spread[part] for part in _PARTS}
    return cells


def _row(cells: dict[str, Any]) -> Row:
    for name in QUANTITIES:
        spread = {part: cells.pop(f"{name}_{part}") for part in _PARTS}
        cells[name] = spread | {"rounds": (spread["rounds"] or "").split()}
    return msgspec.convert(cells, Row, strict=False)


def _change(name: Quantity, row: Row, stored: Row | None) -> Change:
    now, before = getattr(row, name), getattr(stored, name, None)
    return Change(row.name, name, _state(now, before), now, before)


def _state(now: RoundValues, before: RoundValues | None) -> State:
    """Return slower or faster if no round of either side lies within the other side's spread."""
    if before is None:
        return "new"
    if min(len(now.rounds), len(before.rounds)) < 2:
        return "unjudged"
    if now.max < before.min:
        return "slower"
    return "faster" if now.min > before.max else "same"
