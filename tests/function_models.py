"""Functions as models that other processes can import, and jobs for them."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from rate.backends.base import Backend, BackendSpec
from rate.backends.fake import FakeSpec
from rate.config import Measurement
from rate.data.bank import NO_BANK, BankDraw
from rate.data.evaluation_set import read_evaluation_set
from rate.data.images.geometry import Geometry
from rate.data.set_parts import Shard
from rate.engine.choose_backend import Say
from rate.engine.evaluate import Observe
from rate.engine.evaluate import evaluate as run
from rate.engine.job import Job, decoder
from rate.engine.make_job import bank_size, shuffled_share
from rate.engine.open_runner import divided, runner_on
from rate.engine.verdicts.prediction import Head
from rate.execution import Execution
from rate.kernels.separable import Perturbation, rise
from rate.reading import USUAL, Reading
from rate.runs.summary.summarise import Summary
from rate.types import Float32

SIZE = 32
GEOMETRY = Geometry(size=SIZE, resize=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3)
HEADS = (Head("a", ("dark", "light")), Head("b", ("light", "dark", "grey")))
MEASURED = {field.name for field in dataclasses.fields(Measurement)}
SEEN = "RATE_TEST_SEEN"
"""Names a folder: for `Telling` and `placed`."""
BAD = "RATE_TEST_BAD"
"""Set where `of_node` has no numbers."""
KILL = "RATE_TEST_KILL"
"""Names a folder: a process that finds a file `once` there dies after it has taken it away, `always` without."""


def light(x: Float32) -> dict[str, Float32]:
    """Head a reads the upper left quarter, head b everything; more light means "light"."""
    corner = x[:, :, : SIZE // 2, : SIZE // 2].mean(axis=(1, 2, 3))
    whole = x.mean(axis=(1, 2, 3))
    return {
        "a": np.stack([-corner, corner], axis=1).astype(np.float32),
        "b": np.stack([whole, -whole, 0.1 * whole], axis=1).astype(np.float32),
    }


def deadly(x: Float32) -> dict[str, Float32]:
    """As `light`, in a process that is killed in the middle of its work."""
    folder = Path(os.environ[KILL])
    for name in ("once", "twice") if len(x) > 1 else ():  # not while it loads
        with suppress(FileNotFoundError):  # another process took it
            (folder / name).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    if (folder / "on-bright").exists() and float(x.mean(axis=(1, 2, 3)).max()) > 1.9:
        os.kill(os.getpid(), signal.SIGKILL)
    return light(x)


def of_node(x: Float32) -> dict[str, Float32]:
    """As `light`; killed once if that is asked for, and without any numbers where `BAD` is set."""
    if KILL in os.environ:
        deadly(x)
    values = light(x)
    return {head: np.full_like(value, np.nan) for head, value in values.items()} if BAD in os.environ else values


class Interrupting:
    """A model that is interrupted at its n-th batch."""

    def __init__(self, at: int, model: Callable[[Float32], dict[str, Float32]] = light) -> None:
        self.calls, self.at, self.model = 0, at, model

    def __call__(self, x: Float32) -> dict[str, Float32]:
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.model(x)


def defective(x: Float32) -> dict[str, Float32]:
    """Runs into a defect, but not while it loads."""
    if len(x) > 1:
        raise ZeroDivisionError("seven by nothing")
    return light(x)


@dataclasses.dataclass(frozen=True)
class Counted(FakeSpec):
    """Leaves a file for every time that it is opened."""

    folder: str = ""

    def open(self, perturbation: Perturbation, slots: int) -> AbstractContextManager[Backend]:
        Path(self.folder, f"{os.getpid()}-{time.monotonic_ns()}").touch()
        return FakeSpec.open(self, perturbation, slots)


@dataclasses.dataclass(frozen=True)
class Broken(FakeSpec):
    """Ends its process while it loads."""

    def open(self, perturbation: Perturbation, slots: int) -> AbstractContextManager[Backend]:
        os._exit(7)


@dataclasses.dataclass(frozen=True)
class Telling(FakeSpec):
    """Leaves a file that says which GPUs the process sees that opens it."""

    def open(self, perturbation: Perturbation, slots: int) -> AbstractContextManager[Backend]:
        Path(os.environ[SEEN], f"sees-{os.environ.get('CUDA_VISIBLE_DEVICES')}").touch()
        return FakeSpec.open(self, perturbation, slots)


def placed(x: Float32) -> dict[str, Float32]:
    """As `light`; leaves a file that says which process has started its own."""
    Path(os.environ[SEEN], f"child-of-{os.getppid()}").touch()
    return light(x)


def job(
    manifest: Path | str,
    limit: int | None = None,
    shard: str = "1/1",
    heads: tuple[Head, ...] = HEADS,
    geometry: Geometry = GEOMETRY,
    reading: Reading = USUAL,
    **settings: object,
) -> Job:
    """All samples of a manifest, 40 masks each; ``settings`` are fields of `Measurement` and `Execution`."""
    given = {k: v for k, v in settings.items() if k in MEASURED}
    measurement = Measurement(**(given if "verdict" in given else {"masks": 40, "grid": 4} | given))
    draw = BankDraw(bank_size(measurement), measurement.seed)
    elsewhere = settings.get("runner", "local") != "local"
    found = read_evaluation_set(str(manifest), None, limit, Shard.parse(shard), draw, reading, elsewhere)
    executed = {"batch": 8, "limit": limit, "shard": shard, "max_errors": 1000.0}
    executed |= {"save_maps": 0} if measurement.verdict == "swap" else {}
    return Job(
        heads=heads,
        geometry=geometry,
        samples=found,
        measurement=measurement,
        execution=Execution(**(executed | {k: v for k, v in settings.items() if k not in MEASURED})),
        weights="w",
        data=found.digest,
        origin={"artifact": None, "data": str(manifest), "split": None, "limit": limit, "shard": shard},
        available=found.available,
        bank=draw.bank(decoder(measurement, geometry)) if measurement.with_pictures else NO_BANK,
        ignoring=reading.mask_ignore is not None,
        shuffled=0.4 if shuffled_share(measurement, found.available) else 0.0,  # more than of a set of a usual size
    )


def open_spec(spec: BackendSpec, say: Say = lambda _: None) -> AbstractContextManager[Backend]:
    """The backend of a spec, which a runner binds to the masks of its job."""
    return spec.open(rise(8, 2), 1)


def open_defective(*settings: object) -> AbstractContextManager[Backend]:
    """In the place of what opens a backend, whatever the settings."""
    return open_spec(FakeSpec(defective))


def evaluate(one: Job, spec: BackendSpec, out: Path, observe: Observe = lambda _: None, **settings: int) -> Summary:
    """Evaluate a job on a spec, by the runner that its settings ask for."""
    with divided(one.execution) as division, runner_on(division, partial(open_spec, spec)) as runner:
        return run(one, runner, out, observe, **settings)
