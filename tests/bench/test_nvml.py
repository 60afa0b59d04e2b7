"""Clock and power during a bench, from a stand-in for NVML whose names are those of the real package."""

from __future__ import annotations

import sys
import threading
import time
import types

import pytest
from bench.test_history import ROW
from msgspec import structs

from rate.backends import process
from rate.bench.nvml import SLOWED_BY, GpuSampler, on_gpus


class Error(Exception):
    pass


class Nvml(types.ModuleType):
    """Two GPUs; the second one is hot, and slowed half of the time."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU, NVMLError = 1, 0, Error

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.asked, self.broken = [], False
        for bit, name in enumerate(SLOWED_BY, 2):
            setattr(self, f"nvmlClocksEventReason{name}", 1 << bit)

    def nvmlInit(self) -> None:
        if self.broken:
            raise Error("driver not loaded")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self.asked.append(index)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        self.asked.append(uuid)
        return 1

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"GPU {handle}"

    def nvmlDeviceGetMaxClockInfo(self, handle: int, type: int) -> int:
        return 1980

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        return 700_000

    def nvmlDeviceGetClockInfo(self, handle: int, type: int) -> int:
        return 1500 + handle

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 612_300

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 60 + 20 * handle

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:
        self.asked.append("reasons")
        return 1 | (self.nvmlClocksEventReasonSwPowerCap if handle and self.asked.count("reasons") % 4 < 2 else 0)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    made = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.setattr(process, "_gpus_of_machine", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-8f2a")
    return made


def test_the_gpus_that_this_process_sees_are_sampled(library: Nvml) -> None:
    sampler = GpuSampler()
    assert library.asked == [2, "GPU-8f2a"]
    assert sampler.states == ()
    with sampler.sampling(period_s=0.001):
        time.sleep(0.2)
    cool, hot = sampler.states
    assert (cool.name, cool.clock_mhz, cool.max_clock_mhz, cool.power_w) == ("GPU 2", 1502, 1980, 612.3)
    assert (hot.temperature_c, hot.power_limit_w) == (80, 700)
    assert hot.slowed_by["power limit"] == pytest.approx(0.5, abs=0.3)
    assert hot.slowed_by.keys() == {"power limit"}, "that a GPU is idle slows nothing"
    assert str(hot).startswith("GPU 1: 1501 of 1980 MHz, 612 of 700 W, 80 °C; slowed ")
    assert str(structs.replace(cool, slowed_by={})).endswith("slowed by nothing")
    assert not [thread for thread in threading.enumerate() if thread.name == "rate-nvml"]


def test_rows_of_a_gpu_are_of_its_machine(library: Nvml) -> None:
    with (sampler := GpuSampler()).sampling():
        pass
    on_gpu = structs.replace(ROW, backend="tensorrt")
    assert [row.machine for row in on_gpus([ROW, on_gpu], sampler.states)] == [
        ROW.machine,
        f"{ROW.machine}, GPU 2, GPU 1",
    ]
    assert on_gpus([on_gpu], ()) == (on_gpu,)


@pytest.mark.parametrize("missing", ["package", "driver"])
def test_without_nvml_nothing_is_sampled(library: Nvml, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    library.broken = missing == "driver"
    if missing == "package":
        monkeypatch.setitem(sys.modules, "pynvml", None)
    with (sampler := GpuSampler()).sampling():
        pass
    assert sampler.states == ()


def test_a_driver_that_fails_later_ends_the_samples_and_not_the_bench(library: Nvml) -> None:
    def lost(handle: int) -> int:
        raise Error("GPU is lost")

    sampler = GpuSampler()
    library.nvmlDeviceGetPowerUsage = lost
    with sampler.sampling():
        pass
    assert sampler.states == ()


def test_the_real_package_has_these_names() -> None:
    real = pytest.importorskip("pynvml", reason="NOT CHECKED: names of NVML; pip install nvidia-ml-py checks them")
    ours = [name for name in dir(Nvml) if name.startswith(("nvml", "NVML"))]
    reasons = [f"nvmlClocksEventReason{name}" for name in SLOWED_BY]
    assert [name for name in (*ours, *reasons) if not hasattr(real, name)] == []
    assert real.NVML_CLOCK_SM == Nvml.NVML_CLOCK_SM
