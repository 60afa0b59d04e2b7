"""Functions as models that other processes can import, and jobs for them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np

from rate.config import Execution, Measurement
from rate.data.evaluation_set import Shard, read_evaluation_set
from rate.data.images.geometry import Geometry
from rate.engine.job import Job
from rate.engine.verdict import Head
from rate.types import Float32

SIZE = 32
GEOMETRY = Geometry(size=SIZE, resize=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3)
HEADS = (Head("a", ("dark", "light")), Head("b", ("light", "dark", "grey")))
SEEN = "RATE_TEST_SEEN"
"""Names a folder: for `telling`."""
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


def broken(x: Float32) -> dict[str, Float32]:
    """Dies while it loads."""
    os._exit(7)


def telling(x: Float32) -> dict[str, Float32]:
    """As `light`; leaves a file that says which GPUs its process sees."""
    Path(os.environ[SEEN], f"sees-{os.environ.get('CUDA_VISIBLE_DEVICES')}").touch()
    return light(x)


def job(manifest: Path | str, limit: int | None = None, shard: str = "1/1", **execution: object) -> Job:
    """Both heads on all samples of a manifest, 40 masks each."""
    found = read_evaluation_set(str(manifest), None, limit, Shard.parse(shard))
    return Job(
        heads=HEADS,
        geometry=GEOMETRY,
        samples=found,
        measurement=Measurement(masks=40, grid=4),
        execution=Execution(**({"batch": 8, "limit": limit, "shard": shard} | execution)),
        weights="w",
        data=found.digest,
        origin={"data": str(manifest), "shard": shard},
        available=found.available,
    )
