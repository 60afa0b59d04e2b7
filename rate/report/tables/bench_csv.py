"""Figures of a bench as rows in a CSV file, with a comparison to the rows stored there."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Literal, TypeAlias

from rate.bench.result import BenchResult, Spread
from rate.errors import ConfigError
from rate.outputs import append_output, is_stream
from rate.records import Above0, Count, Record
from rate.types import Json

State: TypeAlias = Literal["slower", "faster", "same", "unjudged", "new"]
SLOWER: Final = "slower"
FASTER: Final = "faster"
SAME: Final = "same"
UNJUDGED: Final = "unjudged"
NEW: Final = "new"


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
    median: Above0
    min: Above0
    max: Above0
    rounds: Count

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
_NUMBERS = {"batch": int, "threads": int, "median": float, "min": float, "max": float, "rounds": int}
_KINDS: dict[str, Callable[[str], str | int | float]] = {name: _NUMBERS.get(name, str) for name in BENCH_COLUMNS}


def rows_of(result: BenchResult) -> list[Row]:
    """Convert the figures to one row for each configuration and quantity."""
    return [
        Row(
            date=result.date,
            machine=result.machine.name,
            versions=", ".join(f"{name} {version}" for name, version in result.versions.items()),
            artifact=result.artifact.digest,
            data=result.data.key,
            backend=backend,
            precision=precision,
            batch=batch,
            threads=result.threads,
            masks=masks,
            quantity=quantity,
            median=spread.median,
            min=spread.min,
            max=spread.max,
            rounds=len(spread.rounds),
        )
        for backend, precision, batch, masks, quantity, spread in _quantities(result)
    ]


def _quantities(result: BenchResult) -> Iterator[tuple[str, str, int, str, str, Spread]]:
    for one in result.configurations:
        at = one.backend, one.precision, one.batch
        yield *at, "", "raw_forwards_per_s", one.raw_forwards_per_s
        for masked in one.engine:
            yield *at, str(masked.masks), "engine_forwards_per_s", masked.engine_forwards_per_s
            yield *at, str(masked.masks), "engine_over_raw", masked.engine_over_raw
            yield *at, str(masked.masks), "images_per_s", masked.images_per_s


def read_stored(path: Path, option: str) -> list[Row]:
    """Read the rows of a file that `append` wrote, oldest first.

    Raises:
        ConfigError: the file cannot be read or is another one; the message names ``option`` and the line.
    """
    try:
        lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{option} {path} cannot be read: {error}; `rate bench --csv {path}` writes one") from error
    if not lines or tuple(lines[0]) != BENCH_COLUMNS:
        raise ConfigError(
            f"{option} {path} is no file of `rate bench`: its first line must be {','.join(BENCH_COLUMNS)}; "
            "name another file"
        )
    return [_row(cells, f"{option} {path} line {number}") for number, cells in enumerate(lines[1:], 2) if cells]


def _row(cells: list[str], where: str) -> Row:
    if len(cells) != len(BENCH_COLUMNS):
        raise ConfigError(f"{where} has {len(cells)} cells, {len(BENCH_COLUMNS)} are expected; delete the line")
    text = dict(zip(BENCH_COLUMNS, cells, strict=True))
    try:
        values: Json = {name: kind(text[name]) for name, kind in _KINDS.items()}
    except ValueError as error:
        raise ConfigError(f"{where}: {error}; delete the line") from error
    if not all(math.isfinite(values[name]) and values[name] > 0 for name in ("median", "min", "max", "rounds")):
        raise ConfigError(f"{where}: median, min, max and rounds must be above 0, got {cells[-4:]}; delete the line")
    return Row(**values)


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

    @classmethod
    def of(cls, now: Row, before: Row | None) -> Change:
        """Compare a row with the last stored one."""
        return cls(now.name, _state(now, before), now, before)


class Against(Record, frozen=True):
    """A bench compared with the rows of a file for the same machine and configurations."""

    file: str
    compared: tuple[Change, ...]

    @property
    def regression(self) -> bool | None:
        """Whether any quantity is slower; None if nothing is comparable."""
        judged = [change.state for change in self.compared if change.state in (SLOWER, FASTER, SAME)]
        return SLOWER in judged if judged else None

    def of(self, state: str) -> list[Change]:
        """Return the changes of one state."""
        return [change for change in self.compared if change.state == state]


class BenchDocument(BenchResult, frozen=True, kw_only=True, tag="rate.bench/2"):
    """The document of `rate bench --json`: the figures, and what became slower."""

    regression: bool | None = None
    against: Against | None = None


def compare(rows: Sequence[Row], stored: Sequence[Row], file: str) -> Against:
    """Pair each row with the last stored one of its identity."""
    last = {row.identity: row for row in stored}
    return Against(file, tuple(Change.of(row, last.get(row.identity)) for row in rows))


def _state(now: Row, before: Row | None) -> State:
    """Return slower or faster if no round of either side lies within the other side's spread."""
    if before is None:
        return NEW
    if min(now.rounds, before.rounds) < 2:
        return UNJUDGED
    if now.max < before.min:
        return SLOWER
    return FASTER if now.min > before.max else SAME
