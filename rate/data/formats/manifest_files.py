"""Manifest files as rows of raw values, with one reader and one writer for each format and no validation of values.

JSON texts are parsed as untrusted ones; a refusal has one clear reason.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeVar

from rate.data.storage.limits import LINE_CHARS
from rate.errors import DataError
from rate.outputs import require_output, write_output


def parse_json(text: str | bytes, *, finite: bool = False) -> object:
    """Parse a JSON text.

    Args:
        text: the text.
        finite: whether to refuse NaN and Infinity, which Python's parser accepts and JSON does not.

    Raises:
        ValueError: the text is no JSON, is nested too deeply, or holds a number that is too long.
    """
    try:
        return json.loads(text, parse_constant=_refuse if finite else None)
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply, some hundred levels are read") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:
        if "digits" not in str(error):
            raise
        # Python's own message refers to settings of the interpreter.
        raise ValueError(f"a whole number has more than {sys.get_int_max_str_digits():,} digits") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def short(value: object, most: int = 80) -> str:
    """Format the value as Python does and truncate it; lone surrogates and control characters are escaped."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


Raw: TypeAlias = dict[str, object]
"""Maps each column to the value in the file; None or a blank text = no value."""

CORNERS = ("x0", "y0", "x1", "y1")
MANIFEST_COLUMNS = ("id", "image", "label", "mask", "boxes", *CORNERS, "split", "group", "cluster")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a manifest."""

    row: int  # data row, counted from 1; 0 = the file as a whole
    id: str | None
    column: str | None
    message: str  # the problem and its cure; the text continues the column's name
    severity: str = "error"  # "error" | "warning"

    def __str__(self) -> str:
        place = f"row {self.row}: " if self.row else ""
        return f"{place}{self.column + ' ' if self.column else ''}{self.message}"


def read_rows(path: Path) -> Iterator[tuple[int, Raw] | Problem]:
    """Read the rows of a .csv, .jsonl or .parquet file, numbered from 1; a malformed row is a Problem.

    Blank lines are not rows. Columns other than MANIFEST_COLUMNS are ignored.

    Raises:
        DataError: the file as a whole cannot be read, or lacks a column.
    """
    reader = _format(path, _READERS)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"the manifest {path} {what}; `rate data index folder` writes one for a folder of images")
    try:
        yield from reader(path)
    except OSError as error:
        raise DataError(f"the manifest {path} cannot be read: {error}") from error


def write_rows(path: Path, rows: Sequence[Raw]) -> None:
    """Write rows of known columns as .csv, .jsonl or .parquet, all or nothing.

    Raises:
        DataError: the suffix is unknown, or a text is not Unicode.
        StorageError: the file cannot be written.
    """
    writer = _format(path, _WRITERS)
    columns = [name for name in MANIFEST_COLUMNS if any(name in row for row in rows)]
    try:
        write_output(path, lambda file: writer(file, columns, rows))
    except ValueError as error:  # a text that is not Unicode, such as some file names
        raise DataError(f"{path} cannot be written: {error}") from error


def require_manifest(out: Path) -> None:
    """Refuse a manifest that cannot be written, before its rows are made.

    Raises:
        DataError: the suffix is of no manifest format.
        UsageError: the folder is not writable.
    """
    _format(out, _WRITERS)
    require_output("--out", out)


_CURES = {
    ".json": "; `rate data index coco` makes one of COCO's JSON, `coco-panoptic` of the panoptic one",
    ".yaml": "; `rate data index yolo` makes one of the YAML of a YOLO set",
    ".yml": "; `rate data index yolo` makes one of the YAML of a YOLO set",
    ".txt": "; if it holds labels of YOLO, `rate data index yolo` makes one of the YAML of their set",
    ".xml": "; `rate data index voc` makes one of a Pascal VOC set",
    ".tsv": "; `rate data index table` makes one of a table of boxes",
}
"""What makes a manifest of a file that is none, by its suffix."""


def _format(path: Path, known: dict[str, _T]) -> _T:
    if path.suffix.lower() not in known:
        cure = _CURES.get(path.suffix.lower(), "")
        raise DataError(f"{path} ends in {path.suffix!r}; a manifest ends in {', '.join(known)}{cure}")
    return known[path.suffix.lower()]


def _check_columns(path: Path, names: Sequence[str]) -> None:
    """Check the columns of a table once, so that one message covers all rows."""
    present = f"the file has: {', '.join(names) or 'no columns at all'}"
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: the columns {', '.join(twice)} appear twice; {present}")
    missing = [name for name in ("image", "label") if name not in names]
    corners = [name for name in CORNERS if name in names]
    if 0 < len(corners) < 4:
        missing += [name for name in CORNERS if name not in names]
    if missing:
        cure = "`rate data index table` reads a table with other names or separators"
        raise DataError(f"{path}: the columns {', '.join(missing)} are missing; {present}; {cure}")
    if not corners and not {"mask", "boxes"} & set(names):
        raise DataError(f"{path}: no column gives the region; add `mask`, `boxes`, or x0, y0, x1, y1; {present}")


def _stopped(row: int, error: Exception) -> Problem:
    return Problem(row, None, None, f"cannot be read ({error}); this row and those after it are lost: mend the file")


def bounded_lines(file: IO[str]) -> Iterator[str]:
    """Yield the lines of a text, each of bounded length.

    Raises:
        ValueError: a line is longer than LINE_CHARS.
    """
    while line := file.readline(LINE_CHARS + 1):
        if len(line) > LINE_CHARS:
            raise ValueError(f"a line of more than {LINE_CHARS:,} characters")
        yield line


def _read_csv(path: Path) -> Iterator[tuple[int, Raw] | Problem]:
    row = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            cells = csv.reader(bounded_lines(file), strict=True)
            header = [name.strip() for name in next(cells, [])]
            _check_columns(path, header)
            for values in cells:
                if values:
                    row += 1
                    yield _csv_row(row, header, values)
        except (csv.Error, ValueError) as error:  # includes UnicodeDecodeError
            yield _stopped(row + 1, error)


def _csv_row(row: int, header: list[str], values: list[str]) -> tuple[int, Raw] | Problem:
    if len(values) != len(header):
        cure = "quote cells that hold commas"
        return Problem(row, None, None, f"has {len(values)} cells, the header has {len(header)}; {cure}")
    return row, dict(zip(header, values, strict=True))


def _read_jsonl(path: Path) -> Iterator[tuple[int, Raw] | Problem]:
    row = 0
    with path.open(encoding="utf-8-sig") as file:
        try:
            for line in bounded_lines(file):
                if line.strip():
                    row += 1
                    yield _json_row(row, line)
        except ValueError as error:  # includes UnicodeDecodeError
            yield _stopped(row + 1, error)


def _json_row(row: int, line: str) -> tuple[int, Raw] | Problem:
    try:
        value = parse_json(line)
    except ValueError as error:
        return Problem(row, None, None, f"is not JSON: {error}")
    if not isinstance(value, dict):
        return Problem(row, None, None, f'must be an object like {{"image": ...}}, got {line.strip()[:60]}')
    return row, value


def _read_parquet(path: Path) -> Iterator[tuple[int, Raw] | Problem]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except pa.ArrowException as error:
        raise DataError(f"the manifest {path} is not a Parquet file: {error}") from error
    row = 0
    with file:
        names = file.schema_arrow.names
        _check_columns(path, names)
        try:
            for batch in file.iter_batches(
                batch_size=4096, columns=[name for name in MANIFEST_COLUMNS if name in names]
            ):
                for raw in batch.to_pylist():
                    row += 1
                    yield row, raw
        except (pa.ArrowException, ValueError, OSError) as error:
            yield _stopped(row + 1, error)


def _write_csv(file: IO[bytes], columns: Sequence[str], rows: Sequence[Raw]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = [row.get(name) for name in columns]
        writer.writerow([json.dumps(cell) if isinstance(cell, (list, tuple)) else cell for cell in cells])
    text.detach()


def _write_jsonl(file: IO[bytes], columns: Sequence[str], rows: Sequence[Raw]) -> None:
    for row in rows:
        line = {name: row[name] for name in columns if row.get(name) is not None}
        file.write(json.dumps(line, ensure_ascii=False).encode("utf-8") + b"\n")


def _write_parquet(file: IO[bytes], columns: Sequence[str], rows: Sequence[Raw]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kinds: dict[str, Any] = {name: pa.string() for name in MANIFEST_COLUMNS}
    kinds |= {"boxes": pa.list_(pa.list_(pa.float64())), **{name: pa.float64() for name in CORNERS}}
    schema = pa.schema([(name, kinds[name]) for name in columns])
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), file)


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, Raw] | Problem]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
_WRITERS: dict[str, Callable[[IO[bytes], Sequence[str], Sequence[Raw]], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
