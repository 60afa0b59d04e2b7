"""The resolved and checked description of a run, the input of `evaluate` and of `--dry-run`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from rate.artifacts.records import HeadInfo
from rate.config import FILLS_OF_MAPS, Measurement
from rate.data.bank import NO_BANK, Bank
from rate.data.images.corrupt import LIBRARIES, corruption_function
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import pixel_path, prepare
from rate.engine.verdicts.prediction import Head
from rate.engine.verdicts.stopping import Stopping, rows_before_masks, stopping_for, stopping_of_swaps
from rate.errors import SampleError, need
from rate.execution import Execution
from rate.kernels.saliency import Method
from rate.kernels.separable import Perturbation, rise
from rate.kernels.swap import ROWS_PER_FILL, ROWS_WHEN_ASKED
from rate.machine import COMPUTING, describe, versions
from rate.methods import METHODS
from rate.records import plain, schema_id
from rate.runs.run_document import RunDocument
from rate.types import Json, Prepared, Sample, Samples
from rate.version import NUMERICS


class Evaluable(Protocol):
    """A model that can be evaluated: an artifact, or a module in memory."""

    @property
    def heads(self) -> tuple[HeadInfo, ...]:
        """The heads."""

    @property
    def geometry(self) -> Geometry:
        """The geometry from an image to its pixels."""

    @property
    def named(self) -> str:
        """The name under which a run records it."""

    @property
    def digest(self) -> str:
        """The sha256 of everything that changes a result."""

    @property
    def patches(self) -> int | None:
        """The patches per side of its token graph; None = it has none."""


ASKED_BATCH = 16
"""The usual rows of a forward of a generative model, each of hundreds of tokens."""

QUESTION_CURE = "a generative model needs the columns `question` and `options`, such as yes|no"


@dataclass(frozen=True, slots=True)
class Job:
    """All facts of a run except the device."""

    heads: tuple[Head, ...]
    geometry: Geometry
    samples: Samples
    measurement: Measurement
    execution: Execution
    weights: str  # digest of the artifact's computation
    data: str  # order-independent digest of the samples
    origin: Json  # origin of artifact and data, for display
    available: int  # number of samples before --limit
    notices: tuple[str, ...] = ()
    patches: int | None = None  # patches per side of the artifact's token graph; None = it has none
    bank: Bank = NO_BANK  # the pictures that stand where a pixel is hidden, if the measurement asks for them
    shuffled: float = 0.0  # the share of the samples that are swapped along the region of another one, too
    ignoring: bool = False  # whether masks may have pixels of neither side

    def on_backend(self, name: str) -> Job:
        """The same with the rows of a forward that are usual on that backend, unless they are given."""
        batch = self.execution.batch or (ASKED_BATCH if self.asks else self.execution.batch_on(name))
        return replace(self, execution=replace(self.execution, batch=batch))

    @property
    def method(self) -> Method:
        """The saliency method at the model's size."""
        method: Method = self.measurement.method.masks_of(self.measurement, self.geometry.size, self.patches)
        return method

    @property
    def perturbation(self) -> Perturbation:
        """The tables and constants of the masks; swaps use only the mask that is 1 everywhere."""
        if self.measurement.verdict == "swap":
            return rise(self.geometry.size, self.measurement.grid)
        return self.method.perturbation

    @property
    def fills(self) -> int:
        """The number of pictures that are resident behind the images: one blank, or the bank."""
        return len(self.bank) if self.measurement.with_pictures else 1

    @property
    def fills_met(self) -> int:
        """The largest number of pictures that a sample meets."""
        return min(self.measurement.most_fills, self.bank.fewest)

    @property
    def save_maps(self) -> int | None:
        """The number of maps that the run keeps per head and quadrant; None = all."""
        return self.execution.maps_kept(self.measurement.verdict)

    @property
    def of_map(self) -> Job:
        """The same for maps, where swaps decide; all maps are kept. Itself, where maps decide."""
        if self.measurement.verdict == "map":
            return self
        kept = replace(self.execution, save_maps=None)
        return replace(self, measurement=self.measurement.of_map, execution=kept, bank=NO_BANK, shuffled=0.0)

    @property
    def decode(self) -> Callable[[Sample], Prepared]:
        """The function from a sample to its pixels, corrupted if the measurement says so, and its region."""
        return decoder(self.measurement, self.geometry)

    def read(self, sample: Sample) -> Prepared:
        """Read the pixels and the region of a sample that every head knows.

        Raises:
            SampleError: they cannot be read, or the label is no class of a head.
        """
        if self.asks and sample.question is None:
            raise SampleError(f"sample {sample.id!r} asks nothing: {QUESTION_CURE}")
        for head in self.heads:
            if sample.label not in head.classes_of(sample):
                raise SampleError(f"label {sample.label!r} is not a class of head {head.name!r}")
        return self.decode(sample)

    @property
    def libraries(self) -> tuple[str, ...]:
        """The distributions that affect the rows of this job beside numpy, Pillow and the runtime."""
        reading = ("torch", "torchvision") if self.measurement.pixel_path == "torchvision" else ()
        plugin = METHODS.plugin(self.measurement.saliency)
        method = () if plugin is None else (plugin.package,)
        return (*reading, *(LIBRARIES if self.measurement.corrupt else ()), *method)

    @property
    def asks(self) -> bool:
        """Whether each sample is asked its own question."""
        return any(not head.classes for head in self.heads)

    @property
    def rows_per_fill(self) -> int:
        """The rows of a swap with one fill."""
        return ROWS_WHEN_ASKED if self.asks else ROWS_PER_FILL

    @property
    def rows_before_masks(self) -> int:
        """The rows of a map before its first mask; a question is asked of everything that stands behind the masks."""
        if not self.asks:
            return rows_before_masks(self.measurement, self.method)
        return min(FILLS_OF_MAPS, self.fills_met) if self.measurement.with_pictures else 1

    @property
    def stopping(self) -> Stopping:
        """The stopping rule of a sample."""
        if self.measurement.verdict == "swap":
            return stopping_of_swaps(self.measurement.fills, self.fills_met, self.rows_per_fill)
        return stopping_for(self.measurement, self.method, self.rows_before_masks)

    @property
    def settings(self) -> Json:
        """The effective settings of the measurement: the model determines the grid of rise-tokens."""
        grid = {"grid": self.patches} if self.measurement.form == "tokens" else {}
        return self.measurement.to_json() | grid

    def identity(self, backend: str, precision: str) -> Json:
        """Return everything that changes a result; a run folder with another identity is refused."""
        return {
            "schema": schema_id(RunDocument),
            "numerics": NUMERICS,
            "weights": self.weights,
            "data": self.data,
            "geometry": plain(self.geometry),
            "pixel_path": pixel_path(self.geometry.interpolation, self.measurement.pixel_path),
            "backend": backend,
            "precision": precision,
            "bank": self.bank.digest,
        }

    def key(self, backend: str, precision: str) -> str:
        """Compute the digest of identity and measurement, which excludes batch size, threads and order."""
        content = {"identity": self.identity(backend, precision), "measurement": self.settings}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def about(self, backend: str, precision: str) -> Json:
        """Return the descriptive part of run.json."""
        return {
            "measurement": self.settings,
            "identity": self.identity(backend, precision),
            "rule": self.measurement.rule(),
            "execution": self._execution(),
            "origin": self.origin,
            "heads": [
                {"name": head.name, "classes": len(head.classes)} | ({} if head.classes else {"asks": True})
                for head in self.heads
            ],
            "bank": {
                "pictures": [picture.id for picture in self.bank.pictures],
                "skipped": list(self.bank.skipped),
                "met": self.fills_met,
            },
            "samples": {"planned": len(self.samples), "available": self.available},
            "versions": versions((*COMPUTING, *self.libraries)),
            "machine": describe(),
        }

    def _execution(self) -> Json:
        """Return the settings that change no verdict; those of maps are among them where swaps decide."""
        settings = {name: getattr(self.execution, name) for name in self.execution.__slots__}
        drawn = {"maps": self.measurement.of_map.to_json()} if self.measurement.verdict == "swap" else {}
        return settings | {"save_maps": self.save_maps} | drawn


def decoder(measurement: Measurement, geometry: Geometry) -> Callable[[Sample], Prepared]:
    """Return the function from a sample to its pixels, corrupted if ``measurement`` says so, and its region.

    Raises:
        MissingExtra: the library of the measurement's pixel path, or of its corruption, is not installed.
    """
    alter = corruption_function(measurement.corrupt, measurement.corrupt_seed)
    if measurement.pixel_path == "torchvision":
        need("torchvision", "train")
    return partial(prepare, geometry=geometry, alter=alter, library=measurement.pixel_path)
