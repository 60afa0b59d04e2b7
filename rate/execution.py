"""How a run is carried out: settings that change no verdict, so a run's key does not include them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from rate.config import MASKS_DRAWN
from rate.errors import ConfigError
from rate.option import Settings, check_range, option

ON_CUDA = ("tensorrt", "onnxruntime-cuda", "torch-cuda")
"""Backends that need an NVIDIA GPU."""

BATCH, GPU_BATCH = 32, 256
"""The usual rows of a forward on a CPU and on a GPU, which smaller ones leave idle."""

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3}(,\d{1,3})*)?")

_RUNNER = re.compile(r"local|ray|ray:auto|ray:[^/\s]+:\d{1,5}")

THREADS = "Threads of the runtime; 0 = all this process may use."
"""The help of every option of that name."""

MAPS_KEPT, MAPS_DRAWN = 50, 4
"""The usual number of saved maps of a head and quadrant: where maps decide, and where they are drawn beside swaps.

A map beside swaps costs as many forwards as the verdicts on some thirty samples.
"""


def _maps(text: str) -> int | str | None:
    named: dict[str, int | str | None] = {"none": 0, "all": None, "auto": "auto"}
    return named[text] if text in named else int(text)


@dataclass(frozen=True, slots=True)
class Execution(Settings):
    """The settings of a run that do not change a verdict."""

    backend: str = option(
        "auto",
        choices=("auto", "tensorrt", "openvino", "onnxruntime", "onnxruntime-cuda", "torch", "torch-cuda"),
    )
    precision: str = option("auto", choices=("auto", "f32", "fp16", "bf16", "int8"))
    batch: int = option(0, f"Rows a forward; 0 = {BATCH}, on a GPU {GPU_BATCH}.", within=(0, 4096))
    threads: int = option(0, THREADS, within=(0, 1024))
    io: int = option(0, "Reads of images at once; 0 = few of local files, 32 of remote ones.", within=(0, 256))
    save_maps: int | str | None = option(
        "auto",
        f"Maps kept per head and quadrant: none | K | all; auto: {MAPS_KEPT}, or {MAPS_DRAWN} where swaps decide; "
        f"those are drawn afterwards, of {MASKS_DRAWN} masks if --masks is not given, and decide nothing.",
        panel="Output",
        parse=_maps,
        expected="none, all, auto, or a number a quadrant",
    )
    max_errors: float = option(0.01, "Failed samples allowed: a share below 1, or a number. More: exit code 4.")
    limit: int | None = option(None, "Only the first rows; the run is then partial.", within=(1, 10**12))
    shard: str = option("1/1", "NUMBER/OF: only this part of the samples; see `rate merge`.")
    repair: bool = option(False, "Evaluate again what is damaged, missing or failed in the run.")
    runner: str = option("local", "local | ray: of RAY_ADDRESS, or of this machine alone | ray:HOST:PORT | ray:auto")
    workers: int = option(0, "Processes that share the work; 0 = one, or on Ray as many as fit.", within=(0, 10_000))
    device: str = option("auto", "auto: a GPU if there is one | cpu | cuda | cuda:N | cuda:N,M,..: a worker on each")

    def __post_init__(self) -> None:
        self.check_options()
        self._check_runner()
        if self.save_maps not in (None, "auto"):
            check_range("save-maps", self.save_maps, 0, 10_000_000)
        self._check_device()
        if not (math.isfinite(self.max_errors) and self.max_errors >= 0):
            raise ConfigError(f"max-errors must be a share below 1 or a number of samples, got {self.max_errors}")

    def _check_runner(self) -> None:
        if self.runner.startswith("ray://"):
            raise ConfigError(
                f"runner {self.runner} is an address of Ray's client, and actors are started from within the cluster; "
                "give ray:HOST:PORT of its head, whose port is 6379 by default, or submit the command with "
                "`ray job submit`"
            )
        if not _RUNNER.fullmatch(self.runner):
            raise ConfigError(f"runner must be local, ray, ray:HOST:PORT or ray:auto, got {self.runner!r}")

    def _check_device(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise ConfigError(
                f"device must be auto, cpu, cuda, cuda:N or cuda:N,M, got {self.device!r}; such as cuda:0"
            )
        if len(set(self.gpus)) < len(self.gpus):
            raise ConfigError(f"device {self.device} names a GPU twice; give each once")
        if len(self.gpus) > 1 and (self.runner != "local" or self.workers not in (0, len(self.gpus))):
            raise ConfigError(
                f"device {self.device} has one worker of this machine on each GPU; leave --workers and --runner out"
            )
        kind = self.device.partition(":")[0]
        able = {"auto": True, "cpu": self.backend not in ON_CUDA, "cuda": self.runtime in ("auto", *ON_CUDA)}
        if not able[kind]:
            raise ConfigError(
                f"backend {self.backend} does not run on device {self.device}; leave one of them out, or use "
                f"--backend {'onnxruntime' if kind == 'cpu' else 'onnxruntime-cuda'}"
            )

    @property
    def gpus(self) -> tuple[int, ...]:
        """The numbers of the GPUs that ``device`` lists."""
        kind, _, numbers = self.device.partition(":")
        return tuple(map(int, numbers.split(","))) if kind == "cuda" and numbers else ()

    @property
    def runtime(self) -> str:
        """The backend on this device: onnxruntime and torch have separate backends for a GPU."""
        on_cuda = f"{self.backend}-cuda"
        return on_cuda if self.device.startswith("cuda") and on_cuda in ON_CUDA else self.backend

    def batch_on(self, backend: str) -> int:
        """Return the rows of a forward on a backend of that name."""
        return self.batch or (GPU_BATCH if backend in ON_CUDA else BATCH)

    @property
    def in_one_process(self) -> Execution:
        """The same for what one process does on one device: the first GPU of several."""
        return replace(self, device=f"cuda:{self.gpus[0]}" if self.gpus else self.device, workers=0, runner="local")

    def maps_kept(self, verdict: str) -> int | None:
        """Return the number of maps that are kept per head and quadrant where ``verdict`` decides; None = all."""
        usual = MAPS_DRAWN if verdict == "swap" else MAPS_KEPT
        return usual if isinstance(self.save_maps, str) else self.save_maps

    def errors_allowed(self, samples: int) -> int:
        """Compute how many of ``samples`` may fail before a run counts as failed; it is less than ``samples``."""
        allowed = int(self.max_errors * samples) if self.max_errors < 1 else int(self.max_errors)
        return max(min(allowed, samples - 1), 0)
