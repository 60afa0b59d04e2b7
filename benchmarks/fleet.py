"""How long 15 million images take on 1 to 256 workers, and what limits them: a simulation of the owner and its workers.

The simulation divides samples by the product's own `Chunks`. What the owner of a run does is measured in the same call,
as processor time of a real run of the `fake` backend on two workers of this machine; so is the time until a worker is
ready, and how far the simulation is from a real run whose workers sleep. Speeds of devices are stated, and what images
on S3 take is from `object_store.json`. The run is in a folder, and waits for its disk are not counted.

    python -m benchmarks.fleet [--samples 15000000]
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import memory, record
from rate.backends.base import Backend, Logits
from rate.backends.fake import FakeSpec
from rate.config import Measurement
from rate.data.evaluation_set import read_evaluation_set
from rate.data.images.geometry import Geometry
from rate.data.storage.limits import REMOTE_READS
from rate.data.storage.listing import PAGE
from rate.engine.choose_backend import Say
from rate.engine.evaluate import evaluate
from rate.engine.job import Job
from rate.engine.open_runner import divided, runner_on
from rate.engine.verdicts.prediction import Head
from rate.engine.workers.base import IN_FLIGHT
from rate.engine.workers.chunks import Chunk, Chunks
from rate.execution import Execution
from rate.kernels.separable import rise
from rate.runs.part_list import PartLog
from rate.runs.parts import PART_ROWS, PART_SECONDS, read_rows, write_part
from rate.runs.run_document import read_run
from rate.types import Float32, Sample

SAMPLES, WORKERS = 15_000_000, (1, 4, 16, 64, 256)
SPEEDS, DEATHS = (1_000, 10_000), 0.01  # forwards/s of a device; deaths of a worker in an hour: one in four days
FORWARD_S, MASKS = 0.03, 8  # of the real runs with which the simulation is compared
Event = Callable[[int, int], None]  # of a worker and its own number


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds: of the processor where it is said, of the clock elsewhere."""

    load: float = 0.0  # until a worker is ready
    fetch: float = 0.0  # of a worker, an image, while its device computes
    listing: float = 0.0  # the owner waits for the storage's listings, a row of the first reading
    read_cpu: float = 0.0  # of the owner, a row of the first reading
    row_cpu: float = 0.0  # of the owner, a sample in chunks: read again, sent, received, its row made
    part_cpu: float = 0.0  # of the owner, a part and its entry in the list
    end_cpu: float = 0.0  # of the owner, a row when a run ends: sorted and summarised


@dataclass(slots=True)
class Simulation:
    """A run of workers that start at once; the owner takes one event after the other, in the order of their times."""

    samples: int
    count: int  # of the workers
    sample_s: float  # of a device for a sample
    costs: Costs
    lives: Iterator[float] = field(default_factory=partial(itertools.repeat, math.inf))  # seconds of ready workers
    seconds: float = 0.0  # the owner's clock
    owner_cpu: float = 0.0  # seconds
    sent: int = 0  # samples, those of lost chunks again: each is a request for an image
    done: int = 0
    parts: int = 0
    deaths: int = 0
    _held: int = 0  # rows of the next part
    _closed: float = 0.0  # when the last part was
    _workers: dict[int, dict[int, Chunk]] = field(default_factory=dict)  # that are ready -> event -> chunk that it ends
    _free: dict[int, float] = field(default_factory=dict)  # when a worker has nothing left to do
    _events: list[tuple[float, int, int, Event]] = field(default_factory=list)  # when, number, worker, what
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _chunks: Chunks = field(init=False)

    def run(self) -> Simulation:
        """Fill in what the run takes."""
        self._chunks = Chunks(itertools.repeat(Sample("", "", "", boxes=()), self.samples), self.samples, self.count)
        self._work(self.samples * self.costs.read_cpu)
        self.seconds += self.samples * self.costs.listing
        for worker in range(self.count):
            self._at(self.seconds + self.costs.load, worker, self._ready)
        while not self._chunks.are_done:
            when, number, worker, what = heapq.heappop(self._events)
            self.seconds = max(self.seconds, when)
            what(worker, number)
            self._hand_out()
        if self._held:
            self._close(self._held)
        self._work(self.samples * self.costs.end_cpu)
        return self

    def _work(self, cpu: float) -> None:
        self.seconds, self.owner_cpu = self.seconds + cpu, self.owner_cpu + cpu

    def _at(self, when: float, worker: int, what: Event) -> int:
        number = next(self._numbers)
        heapq.heappush(self._events, (when, number, worker, what))
        return number

    def _ready(self, worker: int, _: int) -> None:
        self._workers[worker], self._free[worker] = {}, self.seconds
        self._at(self.seconds + next(self.lives), worker, self._died)

    def _died(self, worker: int, _: int) -> None:
        for chunk in self._workers.pop(worker).values():
            self._chunks.lost(chunk, with_node=True)
        self.deaths += 1
        self._at(self.seconds + self.costs.load, worker, self._ready)

    def _finished(self, worker: int, number: int) -> None:
        if (chunk := self._workers.get(worker, {}).pop(number, None)) is None:
            return  # the worker has died before
        rows = len(chunk.samples)
        self._chunks.finished(chunk, rows * max(self.sample_s, self.costs.fetch))
        self._work(rows * self.costs.row_cpu)
        self.done, self._held = self.done + rows, self._held + rows
        while self._held >= PART_ROWS or (self._held and self.seconds - self._closed >= PART_SECONDS):
            self._close(min(self._held, PART_ROWS))

    def _close(self, rows: int) -> None:
        self._work(self.costs.part_cpu)
        self.parts, self._held, self._closed = self.parts + 1, self._held - rows, self.seconds

    def _hand_out(self) -> None:
        for worker, flights in self._workers.items():
            while len(flights) < IN_FLIGHT and (chunk := self._chunks.next()) is not None:
                seconds = len(chunk.samples) * max(self.sample_s, self.costs.fetch)
                self._free[worker] = max(self.seconds, self._free[worker]) + seconds
                flights[self._at(self._free[worker], worker, self._finished)] = chunk
                self.sent += len(chunk.samples)


def answer(seconds: float, x: Float32) -> Logits:
    """Answer after ``seconds`` for each image."""
    time.sleep(len(x) * seconds)
    return {"head": np.stack([x.mean(axis=(1, 2, 3)), -x.mean(axis=(1, 2, 3))], axis=1).astype(np.float32)}


def open_fake(folder: Path, seconds: float, say: Say) -> AbstractContextManager[Backend]:
    """Open a backend in a worker, which leaves a file in ``folder``."""
    tempfile.mkstemp(dir=folder)
    return FakeSpec(partial(answer, seconds)).open(rise(8, 2), 1)


def real(folder: Path, samples: int, forward_s: float) -> tuple[float, float, Costs]:
    """Run on two workers of this machine, with a few photographs under many ids.

    Returns:
        Seconds from when both are ready to the last row, those of a device for a sample, and the costs.
    """
    rows = (f"{k},{k % memory.FILES}.jpg,class {k % 2},10,10,40,40\n" for k in range(samples))
    manifest, out = folder / "set.csv", Path(tempfile.mkdtemp(dir=folder))
    manifest.write_text("id,image,label,x0,y0,x1,y1\n" + "".join(rows))
    before = time.process_time()
    found = read_evaluation_set(str(manifest))
    read_cpu = (time.process_time() - before) / samples
    geometry = Geometry(size=memory.SIZE, resize=memory.SIZE, mean=(0.5,) * 3, std=(0.25,) * 3)
    measurement = Measurement(verdict="map", masks=MASKS, grid=4)
    execution = Execution(batch=8, workers=2, threads=1, save_maps=0)
    origin = {"artifact": None, "data": "", "split": None, "limit": None, "shard": "1/1"}
    heads = (Head("head", ("class 0", "class 1")),)
    job = Job(heads, geometry, found, measurement, execution, "fake", found.digest, origin, len(found))
    (out / "opened").mkdir()
    began, marks = time.monotonic(), []
    opener = partial(open_fake, out / "opened", forward_s)
    with divided(job.execution) as division, runner_on(division, opener) as runner:
        while len([*(out / "opened").iterdir()]) < 2:
            time.sleep(0.01)
        loaded, cpu = time.monotonic(), time.process_time()
        evaluate(job, runner, out / "run", lambda _: marks.append((time.monotonic(), time.process_time())))
        end_cpu = (time.process_time() - marks[-1][1]) / samples
    run = read_run(out / "run")
    part_cpu = part_of(out / "again", run.key, read_rows(out / "run", run))
    row_cpu = (marks[-1][1] - cpu - samples // PART_ROWS * part_cpu) / samples
    costs = Costs(load=loaded - began, read_cpu=read_cpu, row_cpu=row_cpu, part_cpu=part_cpu, end_cpu=end_cpu)
    return marks[-1][0] - loaded, run.sessions[-1].rows * forward_s / samples, costs


def part_of(folder: Path, key: str, rows: pa.Table) -> float:
    """Return the processor time of a part and its entry in the list."""
    (folder / "samples").mkdir(parents=True)
    log = PartLog(folder)
    log.replace(())
    before, starts = time.process_time(), range(0, len(rows), PART_ROWS)
    for k in starts:
        log.append(write_part(folder, key, rows[k : k + PART_ROWS]))
    return (time.process_time() - before) / len(starts)


def compared(folder: Path, samples: int = 24) -> float:
    """Return how many times as long as a real run on two workers, which mostly sleep, the simulated one takes."""
    seconds, sample_s, costs = real(folder, samples, FORWARD_S)
    return Simulation(samples, 2, sample_s, replace(costs, load=0.0, read_cpu=0.0, end_cpu=0.0)).run().seconds / seconds


def main() -> None:
    """Measure, simulate and record."""
    from benchmarks import fleet  # workers import the functions of this module by its name

    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=SAMPLES)
    samples = parser.parse_args().samples
    forwards = json.loads((record.RESULTS / "data_path.json").read_text())["figures"]["forwards_an_image"]
    store = json.loads((record.RESULTS / "object_store.json").read_text())["figures"]
    with tempfile.TemporaryDirectory() as name:
        memory.write_images(Path(name))
        ratios = [round(fleet.compared(Path(name)), 3) for _ in range(5)]
        _, _, disk = fleet.real(Path(name), 8000, 0.0)
    fetch, listed = 1 / store["images_per_s"]["s3"][str(REMOTE_READS)], store["versions"]["cpu_s"] / store["objects"]
    s3 = replace(disk, fetch=fetch, listing=store["delay_s"] / PAGE, read_cpu=disk.read_cpu + listed)
    rows = []
    for (place, costs), speed, workers in itertools.product({"disk": disk, "s3": s3}.items(), SPEEDS, WORKERS):
        lives = iter(partial(random.Random(0).expovariate, DEATHS / 3600), None)
        one = Simulation(samples, workers, forwards / speed, costs, lives).run()
        owner = (one.owner_cpu + samples * costs.listing) / one.seconds
        worker = "fetch" if costs.fetch > forwards / speed else "device"
        row = {"images": place, "forwards_per_s": speed, "workers": workers, "hours": round(one.seconds / 3600, 2)}
        row |= {"owner_cpu_h": round(one.owner_cpu / 3600, 2), "owner_busy": round(owner, 3)}
        row |= {
            "requests": samples // PAGE + one.sent if place == "s3" else 0,
            "parts": one.parts,
            "deaths": one.deaths,
        }
        rows.append(row | {"limit": "owner" if owner > 0.9 else worker})
    settings = {"samples": samples, "forwards_an_image": forwards, "deaths_a_worker_hour": DEATHS}
    figures = {"costs_s": {"disk": asdict(disk), "s3": asdict(s3)}, "simulated_over_real": ratios, "runs": rows}
    record.write("fleet", settings | figures)


if __name__ == "__main__":
    main()
