"""Clock and power of the GPUs during a bench, and what slows them, where `nvidia-ml-py` and a driver are there."""

from __future__ import annotations

import importlib
import statistics
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from msgspec import structs

from rate.backends.process import visible_gpus
from rate.bench.document import GpuState, Row
from rate.execution import ON_CUDA

PERIOD_S = 0.2
"""Time between two samples; NVML itself averages power over a longer one."""

SLOWED_BY = {
    "SwPowerCap": "power limit",
    "HwSlowdown": "hardware",
    "SyncBoost": "clocks of another GPU",
    "SwThermalSlowdown": "temperature",
    "HwThermalSlowdown": "temperature (hardware)",
    "HwPowerBrakeSlowdown": "power brake",
    "ApplicationsClocksSetting": "clocks that were set",
}
"""Reasons of NVML for a clock below the highest one, and their words here; an idle GPU is none."""


@dataclass(slots=True)
class _Gpu:
    handle: Any
    name: str
    max_clock_mhz: float
    power_limit_w: float
    clocks: list[float] = field(default_factory=list)
    powers: list[float] = field(default_factory=list)
    temperatures: list[float] = field(default_factory=list)
    slowed: Counter[str] = field(default_factory=Counter)

    @property
    def state(self) -> GpuState:
        count = len(self.clocks)
        return GpuState(
            name=self.name,
            samples=count,
            clock_mhz=statistics.median(self.clocks),
            max_clock_mhz=self.max_clock_mhz,
            power_w=statistics.median(self.powers),
            power_limit_w=self.power_limit_w,
            temperature_c=max(self.temperatures),
            slowed_by={why: times / count for why, times in sorted(self.slowed.items())},
        )


class GpuSampler:
    """The GPUs that this process sees, sampled by a thread; there are none where NVML cannot be asked."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._gpus: list[_Gpu] = []
        with suppress(ImportError):
            self._nvml = importlib.import_module("pynvml")
        if self._nvml is not None:
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlInit()
                self._gpus = [self._open(name) for name in visible_gpus()]

    @property
    def states(self) -> tuple[GpuState, ...]:
        """The GPUs that were sampled."""
        return tuple(gpu.state for gpu in self._gpus if gpu.clocks)

    @contextmanager
    def sampling(self, period_s: float = PERIOD_S) -> Iterator[None]:
        """Sample during the block, at its beginning too."""
        ended = threading.Event()
        thread = threading.Thread(target=self._sample, args=(ended, period_s), name="rate-nvml", daemon=True)
        if self._gpus:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if self._gpus:
                thread.join()

    def _open(self, name: str) -> _Gpu:
        nvml = self._nvml
        numbered = name.isdecimal()
        handle = nvml.nvmlDeviceGetHandleByIndex(int(name)) if numbered else nvml.nvmlDeviceGetHandleByUUID(name)
        return _Gpu(
            handle,
            str(nvml.nvmlDeviceGetName(handle)),
            float(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
            nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3,
        )

    def _sample(self, ended: threading.Event, period_s: float) -> None:
        with suppress(self._nvml.NVMLError):  # a bench goes on without
            while True:
                for gpu in self._gpus:
                    self._read(gpu)
                if ended.wait(period_s):
                    return

    def _read(self, gpu: _Gpu) -> None:
        nvml = self._nvml
        clock = float(nvml.nvmlDeviceGetClockInfo(gpu.handle, nvml.NVML_CLOCK_SM))
        power = nvml.nvmlDeviceGetPowerUsage(gpu.handle) / 1e3
        temperature = float(nvml.nvmlDeviceGetTemperature(gpu.handle, nvml.NVML_TEMPERATURE_GPU))
        reasons = nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu.handle)
        gpu.clocks.append(clock)
        gpu.powers.append(power)
        gpu.temperatures.append(temperature)
        gpu.slowed.update(
            word for name, word in SLOWED_BY.items() if reasons & getattr(nvml, f"nvmlClocksEventReason{name}")
        )


def on_gpus(rows: Iterable[Row], states: Sequence[GpuState]) -> tuple[Row, ...]:
    """Add the names of the GPUs to the machine of the rows that were measured on one."""
    names = ", ".join(dict.fromkeys(state.name for state in states))
    return tuple(
        structs.replace(row, machine=f"{row.machine}, {names}") if names and row.backend in ON_CUDA else row
        for row in rows
    )
