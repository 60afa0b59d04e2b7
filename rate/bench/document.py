"""The document of a bench: a row for each measured configuration, as the table and the CSV file have it, too."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from rate.bench.plan import Refused
from rate.machine import describe
from rate.records import AtLeastOne, Count, Document, Record

CAVEAT = (
    "Forwards/s and images/s belong to this machine as it was just now; only the ratio, taken within one run, means "
    "much elsewhere or later."
)

Quantity: TypeAlias = Literal["raw_forwards_per_s", "engine_forwards_per_s", "engine_over_raw", "images_per_s"]
State: TypeAlias = Literal["slower", "faster", "same", "unjudged", "new"]
Finite: TypeAlias = Annotated[float, Meta(gt=0, le=sys.float_info.max)]


class RoundValues(Record, frozen=True):
    """The values of a quantity in every round, in order; larger is better."""

    median: Finite
    min: Finite
    max: Finite
    rounds: Annotated[tuple[Finite, ...], Meta(min_length=1)]

    @classmethod
    def of(cls, values: Iterable[float]) -> RoundValues:
        """Compute the spread of one or more rounds."""
        rounds = tuple(values)
        return cls(statistics.median(rounds), min(rounds), max(rounds), rounds)


class Row(Record, frozen=True, kw_only=True):
    """The engine with one backend, precision, batch size and number of masks, and its backend alone."""

    date: str  # UTC
    machine: str  # processor and usable cores
    versions: str  # "name version" of every package that affects a number
    artifact: str  # digest
    data: str  # key of the images
    backend: str
    precision: str
    batch: AtLeastOne
    threads: AtLeastOne
    masks: AtLeastOne | Literal["auto"]
    images: Count  # number of images with a verdict, in all rounds
    raw_forwards_per_s: RoundValues  # forwards/s of the backend alone
    engine_forwards_per_s: RoundValues
    engine_over_raw: RoundValues  # in each round
    images_per_s: RoundValues

    @property
    def identity(self) -> tuple[str | int, ...]:
        """The fields that are equal in comparable rows: machine, artifact, images, configuration."""
        settings = self.backend, self.precision, self.batch, self.threads, self.masks
        return self.machine, self.artifact, self.data, *settings

    @property
    def name(self) -> str:
        """The configuration, for display."""
        return f"{self.backend} {self.precision} batch {self.batch} masks {self.masks}"


class Change(Record, frozen=True):
    """A quantity of a row beside that of the last stored row of the same identity."""

    name: str  # configuration, for display
    quantity: Quantity
    state: State
    now: RoundValues
    before: RoundValues | None


class Against(Record, frozen=True):
    """The rows of a bench beside those of a file."""

    file: str
    regression: bool | None  # whether any quantity is slower; None: nothing could be judged
    dates: tuple[str, ...]  # of the stored rows, ascending
    versions: tuple[str, ...]  # of the stored rows
    compared: tuple[Change, ...]


class GpuState(Record, frozen=True):
    """A GPU during the measurements."""

    name: str
    samples: Count
    clock_mhz: Annotated[float, Meta(description="median of the SM clock")]
    max_clock_mhz: float
    power_w: Annotated[float, Meta(description="median")]
    power_limit_w: float
    temperature_c: Annotated[float, Meta(description="highest")]
    slowed_by: Annotated[dict[str, float], Meta(description="reason -> share of the samples")]

    def __str__(self) -> str:
        """Format one line."""
        slowed = ", ".join(f"{100 * share:.0f} % of the time by {why}" for why, share in self.slowed_by.items())
        return (
            f"{self.name}: {self.clock_mhz:.0f} of {self.max_clock_mhz:.0f} MHz, {self.power_w:.0f} of "
            f"{self.power_limit_w:.0f} W, {self.temperature_c:.0f} °C; slowed {slowed or 'by nothing'}"
        )


NEAR = 0.97
"""The share of the highest throughput at which a smaller batch, which takes less memory, is as good."""


class Recommended(Record, frozen=True):
    """The options of `rate eval` that were the fastest here."""

    backend: str
    precision: str
    batch: AtLeastOne
    engine_forwards_per_s: Finite


def recommended(rows: Sequence[Row]) -> Recommended:
    """Return the fastest engine at the first number of masks, with the smallest batch that is within `NEAR` of it."""
    alike = [row for row in rows if row.masks == rows[0].masks]
    best = max(alike, key=_pace)
    own = [row for row in alike if (row.backend, row.precision) == (best.backend, best.precision)]
    one = min((row for row in own if _pace(row) >= NEAR * _pace(best)), key=lambda row: row.batch)
    return Recommended(one.backend, one.precision, one.batch, _pace(one))


def _pace(row: Row) -> float:
    return row.engine_forwards_per_s.median


class BenchDocument(Document, frozen=True, kw_only=True, tag="rate.bench/4"):
    """The document of `rate bench --json`."""

    machine: dict[str, str] = field(default_factory=describe)
    source: str  # of the artifact
    images: str  # description for display
    rows: Annotated[tuple[Row, ...], Meta(min_length=1)]
    recommended: Recommended
    refused: tuple[Refused, ...]
    gpus: tuple[GpuState, ...] = ()
    caveat: str = CAVEAT
    against: Against | None = None
