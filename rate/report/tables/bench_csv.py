"""Figures of a bench as rows in a CSV file, with a comparison to the rows stored there."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from rate.bench.result import BenchResult, Spread
from rate.errors import ConfigError
from rate.outputs import append_output, is_stream
from rate.records import AtLeastOne, Count, Record

State: TypeAlias = Literal["slower", "faster", "same", "unjudged", "new"]
Finite: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=sys.float_info.max)]


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity of one configuration; larger is better for all quantities."""

    date: str  # UTC
    machine: str  # processor and usable cores
    versions: str  # "name version" of every package that affects a number
    artifact: str  # digest
    data: str  # key of the images
    backend: str
    precision: str
    batch: Count
    threads: Count
    masks: str  # "" if it does not matter
    quantity: str
    median: Finite
    min: Finite
    max: Finite
    rounds: AtLeastOne

    @property
    def identity(self) -> tuple[str | int, ...]:
        """The fields that are equal in comparable rows: machine, artifact, images, configuration, quantity."""
        return (
            *(self.machine, self.artifact, self.data, self.backend, self.precision),
            *(self.batch, self.threads, self.masks, self.quantity),
        )

    @property
    def name(self) -> str:
        """The configuration and quantity, for display."""
        masks = f" masks {self.masks}" if self.masks else ""
        return f"{self.backend} {self.precision} batch {self.batch}{masks} {self.quantity}"


BENCH_COLUMNS = tuple(field.name for field in fields(Row))


def rows_of(result: BenchResult) -> list[Row]:
    """Convert the figures to one row for each configuration and quantity."""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    origin = (result.date, result.machine.name, versions, result.artifact.digest, result.data.key)
    return [
        Row(*origin, *at, result.threads, masks, quantity, spread.median, spread.min, spread.max, len(spread.rounds))
        for at, masks, quantity, spread in _quantities(result)
    ]


def _quantities(result: BenchResult) -> Iterator[tuple[tuple[str, str, int], str, str, Spread]]:
    for one in result.configurations:
        at = one.backend, one.precision, one.batch
        yield at, "", "raw_forwards_per_s", one.raw_forwards_per_s
        for masked in one.engine:
            yield at, str(masked.masks), "engine_forwards_per_s", masked.engine_forwards_per_s
            yield at, str(masked.masks), "engine_over_raw", masked.engine_over_raw
            yield at, str(masked.masks), "images_per_s", masked.images_per_s


def read_stored(path: Path, option: str) -> list[Row]:
    """Read the rows of a file that `append` wrote, oldest first.

    Raises:
        ConfigError: the file cannot be read or is another one; the message names ``option`` and the line.
    """
    try:
        lines = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
        if tuple(lines.fieldnames or ()) != BENCH_COLUMNS:
            raise ConfigError(
                f"{option} {path} is no file of `rate bench`: its first line must be {','.join(BENCH_COLUMNS)}; "
                "name another file"
            )
        return [msgspec.convert(cells, Row, strict=False) for cells in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{option} {path} cannot be read: {error}; `rate bench --csv {path}` writes one") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{option} {path} line {lines.line_num} is no row: {error}; delete the line") from error


def append(path: Path, rows: Sequence[Row]) -> None:
    """Append rows to a file, with a header if it is new or a stream.

    Raises:
        StorageError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, BENCH_COLUMNS, lineterminator="\n")
    present = path.read_bytes() if path.is_file() and not is_stream(path) else b""
    if not present:
        writer.writeheader()
    elif rows and not present.endswith(b"\n"):
        text.write("\n")
    writer.writerows(asdict(row) for row in rows)
    append_output(path, text.getvalue().encode())


class Change(Record, frozen=True):
    """A row and the last stored row with the same identity."""

    name: str
    state: State
    now: Row
    before: Row | None


class Against(Record, frozen=True):
    """A bench compared with the rows of a file for the same machine and configurations."""

    file: str
    compared: tuple[Change, ...]

    @property
    def regression(self) -> bool | None:
        """Whether any quantity is slower; None if nothing is comparable."""
        judged = [change.state for change in self.compared if change.state not in ("unjudged", "new")]
        return "slower" in judged if judged else None

    def count(self, state: State) -> int:
        """Count the changes of one state."""
        return sum(change.state == state for change in self.compared)


class BenchDocument(BenchResult, frozen=True, kw_only=True, tag="rate.bench/2"):
    """The document of `rate bench --json`: the figures, and what became slower."""

    regression: bool | None = None
    against: Against | None = None


def compare(rows: Sequence[Row], stored: Sequence[Row], file: str) -> Against:
    """Pair each row with the last stored one of its identity."""
    last = {row.identity: row for row in stored}
    pairs = [(row, last.get(row.identity)) for row in rows]
    return Against(file, tuple(Change(row.name, _state(row, before), row, before) for row, before in pairs))


def _state(now: Row, before: Row | None) -> State:
    """Return slower or faster if no round of either side lies within the other side's spread."""
    if before is None:
        return "new"
    if min(now.rounds, before.rounds) < 2:
        return "unjudged"
    if now.max < before.min:
        return "slower"
    return "faster" if now.min > before.max else "same"
