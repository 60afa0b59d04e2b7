"""How many forwards a second one process can feed: the whole engine on a device that computes nothing.

The device keeps pixels and answers every batch with logits of 1,000 classes from a pool made beforehand. Samples are
decoded beforehand, too: `benchmarks.data_path` measures decoding. A simulated device takes its time for every batch,
one batch after the other, and counts how long it was busy.

    python -m benchmarks.host [--seconds 4] [--profile CASE]
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import pstats
import time
from dataclasses import dataclass

import numpy as np

from benchmarks import record
from rate.backends.base import Logits
from rate.backends.batches import HostImages, check_rows
from rate.backends.process import one_blas_thread
from rate.config import Measurement
from rate.data.bank import NO_BANK, Bank
from rate.data.images.geometry import Geometry
from rate.engine.engine import Engine, image_slots, slots_of
from rate.engine.job import Job
from rate.engine.make_job import bank_size
from rate.engine.prefetch import Prefetch
from rate.engine.verdicts.fills import Fills
from rate.engine.verdicts.prediction import Head
from rate.execution import Execution
from rate.kernels.separable import Perturbation
from rate.types import INSIDE, Picture, Prepared, Region, Rows, Sample, SoftRegion

CLASSES, SIZE, IMAGES = 1000, 224, 16
GEOMETRY = Geometry(SIZE, SIZE, (0.0,) * 3, (1.0,) * 3)
POOL = 64
"""Batches of logits that take turns."""

DEPTH = 3
SIGNAL = 2.0
"""What seeing the region adds to the logits of both labels; the noise has a deviation of 1."""

MEASUREMENTS = {
    "swap 8": Measurement(verdict="swap", fills=8),
    "swap auto": Measurement(verdict="swap"),
    "map 256": Measurement(verdict="map", masks=256),
    "map 1000": Measurement(verdict="map", masks=1000),
    "map auto": Measurement(verdict="map"),
}
BATCHES = (32, 128, 256)
DEVICES = (5_000, 10_000, 20_000)
"""Forwards a second of simulated devices."""


class Device:
    """A backend without a model; ``pace`` of None answers at once, else it takes so many forwards a second."""

    name, precision, device, version, depth = "null", "f32", "null", "1", DEPTH

    def __init__(self, heads: int, batch: int, pace: float | None) -> None:
        rng = np.random.default_rng(0)
        shape = (POOL, heads, batch, CLASSES)
        self._pool = rng.standard_normal(shape, np.float32)
        self._turn, self._pace = itertools.cycle(range(POOL)), pace
        self._ends, self.busy_s = 0.0, 0.0

    def bind(self, perturbation: Perturbation, slots: int) -> None:
        """See `Backend`."""
        self._perturbation, self._images = perturbation, HostImages(slots, perturbation.size)

    def put(self, slot: int, picture: Picture, region: SoftRegion | None = None) -> None:
        """See `Backend`."""
        self._images.put(slot, picture, region)

    def submit(self, rows: Rows) -> Answer:
        """Queue a batch behind those before it."""
        check_rows(rows, self._perturbation, len(self._images.levels))
        if self._pace is not None:
            took = len(rows) / self._pace
            self._ends = max(self._ends, time.perf_counter()) + took
            self.busy_s += took
        values = self._pool[next(self._turn)][:, : len(rows)].copy()
        values[:, :, :2] += SIGNAL * (rows.side == INSIDE)[None, :, None]
        return Answer({str(k): one for k, one in enumerate(values)}, self._ends)


@dataclass(frozen=True)
class Answer:
    """A batch that is done at a time."""

    logits: Logits
    ends: float
    idle_s: float = 0.0  # the device reports its own busy time

    def wait(self) -> Logits:
        """See `Pending`."""
        if (left := self.ends - time.perf_counter()) > 0:
            time.sleep(left)
        return self.logits


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--profile", metavar="CASE", help=f"one of {', '.join(MEASUREMENTS)}, at batch 256")
    arguments = parser.parse_args()
    if arguments.profile:
        with cProfile.Profile() as profile:
            print(measured(arguments.profile, 1, 256, None, arguments.seconds))
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    rows = []
    for name, heads, batch in itertools.product(MEASUREMENTS, (1, 2), BATCHES):
        rows.append(measured(name, heads, batch, None, arguments.seconds))
        print(rows[-1], flush=True)
    for name, heads, pace in itertools.product(("swap auto", "map auto"), (1, 2), DEVICES):
        rows.append(measured(name, heads, 256, pace, arguments.seconds))
        print(rows[-1], flush=True)
    record.write("host", {"classes": CLASSES, "seconds": arguments.seconds, "rows": rows})


def measured(name: str, heads: int, batch: int, pace: float | None, seconds: float) -> dict[str, object]:
    """Run the engine for so long, after a warm-up of half a second."""
    job, device = job_of(MEASUREMENTS[name], heads, batch), Device(heads, batch, pace)
    device.bind(job.perturbation, slots_of(job))
    engine, pictures = Engine(job, device, fills=fills_of(job)), images()
    samples = map(sample, itertools.count(1000))
    with engine.reading(samples, lambda one: Prepared(one, *pictures[one.image])) as source, one_blas_thread():
        run(engine, source, 0.5)
        device.busy_s, cpu = 0.0, time.process_time()
        forwards, wall = run(engine, source, seconds)
        cpu = time.process_time() - cpu
        engine.drain()
    found = {"case": name, "heads": heads, "batch": batch, "forwards_per_s": round(forwards / wall)}
    found["forwards_per_cpu_s"] = round(forwards / cpu)
    return found if pace is None else found | {"device": pace, "busy": round(device.busy_s / wall, 3)}


def run(engine: Engine, source: Prefetch, seconds: float) -> tuple[int, float]:
    """Step for so long: forwards of the folded batches, and seconds."""
    began, forwards = time.perf_counter(), 0
    while (wall := time.perf_counter() - began) < seconds:
        step = engine.step(source)
        assert step is not None
        forwards += step.stats.forwards
    return forwards, wall


def images() -> dict[str, tuple[Picture, Region]]:
    """A picture and a region of every image."""
    rng = np.random.default_rng(1)
    found = {}
    for k in range(IMAGES):
        region = np.zeros((SIZE, SIZE), np.bool_)
        top, left = rng.integers(0, SIZE // 2, 2)
        region[top : top + SIZE // 3, left : left + SIZE // 3] = True
        found[str(k)] = GEOMETRY.picture(rng.integers(0, 256, (3, SIZE, SIZE)).astype(np.uint8)), region
    return found


def sample(k: int) -> Sample:
    """One of endless samples; labels take turns."""
    return Sample(f"{k}", str(k % 2), str(k % IMAGES), boxes=())


def job_of(measurement: Measurement, heads: int, batch: int) -> Job:
    """The job, with a bank of pictures that are never read."""
    names = tuple(str(k) for k in range(CLASSES))
    bank = (
        Bank(tuple(sample(k) for k in range(bank_size(measurement))), seed=0) if measurement.with_pictures else NO_BANK
    )
    return Job(
        heads=tuple(Head(str(k), names) for k in range(heads)),
        geometry=GEOMETRY,
        samples=(),
        measurement=measurement,
        execution=Execution(batch=batch),
        weights="",
        data="",
        origin={},
        available=0,
        bank=bank,
    )


def fills_of(job: Job) -> Fills:
    """Logits and regions of fills that nobody computed."""
    rng = np.random.default_rng(2)
    logits = {head.name: rng.standard_normal((job.fills, CLASSES), np.float32) for head in job.heads}
    regions = [region for _, region in images().values()]
    return Fills(image_slots(job), (), logits, np.stack([regions[k % IMAGES] for k in range(job.fills)]))


if __name__ == "__main__":
    main()
