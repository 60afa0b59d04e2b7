"""The figures of a bench, each with its spread over the rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable

from msgspec import field

from rate.backends.process import usable_cores
from rate.bench.plan import Refused
from rate.machine import describe, processor, versions
from rate.records import Above0, Count, Document, Record

CAVEAT = (
    "Forwards/s and images/s belong to this machine as it was just now; only the ratio, taken within one run, means "
    "much elsewhere or later."
)


class Spread(Record, frozen=True):
    """The values of a quantity in every round, in order."""

    median: Above0
    min: Above0
    max: Above0
    rounds: tuple[Above0, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Compute the spread of one or more rounds."""
        rounds = tuple(values)
        return cls(statistics.median(rounds), min(rounds), max(rounds), rounds)


class MaskedFigures(Record, frozen=True):
    """The whole engine at one setting of masks."""

    masks: int | str
    images: Count  # per round
    engine_forwards_per_s: Spread
    engine_over_raw: Spread  # in each round
    images_per_s: Spread


class Figures(Record, frozen=True):
    """One backend, precision and batch size."""

    backend: str
    precision: str
    batch: Count
    raw_forwards_per_s: Spread  # forwards/s of the backend alone
    engine: tuple[MaskedFigures, ...]


class Machine(Record, frozen=True):
    """The machine of a measurement; speeds are comparable if ``name`` is equal."""

    name: str
    system: str
    processor: str
    python: str
    cores: Count

    @classmethod
    def here(cls) -> Machine:
        """Describe this machine."""
        cores = usable_cores()
        return cls(name=f"{processor()}, {cores} cores", cores=cores, **describe())


class MeasuredArtifact(Record, frozen=True):
    """The measured artifact."""

    source: str
    digest: str


class MeasuredData(Record, frozen=True):
    """The images of a measurement."""

    key: str
    images: str  # description for display


class BenchResult(Document, frozen=True, kw_only=True, tag="rate.bench/2"):
    """The measured figures with the machine, and the refused backends."""

    date: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    machine: Machine = field(default_factory=Machine.here)
    versions: dict[str, str] = field(default_factory=versions)
    artifact: MeasuredArtifact
    data: MeasuredData
    threads: Count
    rounds: Count
    configurations: tuple[Figures, ...]
    refused: tuple[Refused, ...]
    caveat: str = CAVEAT
