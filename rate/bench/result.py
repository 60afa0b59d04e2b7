"""The figures of a bench, each with its spread over the rounds."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass, field

from rate.backends.process import usable_cores
from rate.bench.plan import Refused
from rate.machine import describe, processor, versions
from rate.types import Json

BENCH_SCHEMA_ID = "rate.bench/1"

CAVEAT = (
    "Forwards/s and images/s belong to this machine as it was just now; only the ratio, taken within one run, means "
    "much elsewhere or later."
)


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity of every round, in their order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.values)

    def to_json(self) -> Json:
        """Median, extremes and every round."""
        return {
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "rounds": list(self.values),
        }


@dataclass(frozen=True, slots=True)
class MaskedFigures:
    """The whole engine at one setting of masks."""

    masks: int | str
    images: int  # a round
    engine: Spread  # forwards/s
    over_raw: Spread  # engine / raw, round by round
    images_per_s: Spread

    def to_json(self) -> Json:
        """All fields."""
        return {
            "masks": self.masks,
            "images": self.images,
            "engine_forwards_per_s": self.engine.to_json(),
            "engine_over_raw": self.over_raw.to_json(),
            "images_per_s": self.images_per_s.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Figures:
    """One backend, precision and batch."""

    backend: str
    precision: str
    batch: int
    raw: Spread  # forwards/s of the backend alone
    masked: tuple[MaskedFigures, ...]

    def to_json(self) -> Json:
        """All fields."""
        return {
            "backend": self.backend,
            "precision": self.precision,
            "batch": self.batch,
            "raw_forwards_per_s": self.raw.to_json(),
            "engine": [masked.to_json() for masked in self.masked],
        }


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What was measured, where, and what was refused."""

    artifact: str  # digest
    source: str
    data: str  # key of the images
    images: str  # what they are, for people
    threads: int
    rounds: int
    figures: tuple[Figures, ...]
    refused: tuple[Refused, ...]
    date: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    versions: dict[str, str] = field(default_factory=versions)

    @property
    def machine(self) -> str:
        """What has to be equal for a comparison of speeds."""
        return f"{processor()}, {usable_cores()} cores"

    def to_json(self) -> Json:
        """The document of `rate bench --json`, without a comparison."""
        return {
            "schema": BENCH_SCHEMA_ID,
            "date": self.date,
            "machine": describe() | {"name": self.machine, "cores": usable_cores()},
            "versions": self.versions,
            "artifact": {"source": self.source, "digest": self.artifact},
            "data": {"key": self.data, "images": self.images},
            "threads": self.threads,
            "rounds": self.rounds,
            "configurations": [one.to_json() for one in self.figures],
            "refused": [asdict(one) for one in self.refused],
            "caveat": CAVEAT,
        }
