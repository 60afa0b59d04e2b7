"""The resources that this process may use: cores, BLAS threads, GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import takewhile
from pathlib import Path

from threadpoolctl import threadpool_limits

from rate.errors import UsageError


def usable_cores() -> int:
    """Count the cores in this process's affinity mask, or all cores if the system has no mask.

    The defaults of the runtimes ignore affinity and containers.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_blas_thread() -> AbstractContextManager[object]:
    """Limit numpy's matrix products to the calling thread in the block.

    A second BLAS thread spins after every product and so takes cores from the runtime: engine over raw
    forwards/s in bf16 on two cores is 0.91 with two threads and 0.98 with one.
    """
    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Use ``count`` threads inside torch's operators in the block, 0 = all usable cores; then as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or usable_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cuda_visible() -> bool:
    """Tell whether the system shows an NVIDIA GPU to this process, without loading a library."""
    return bool(visible_gpus())


def visible_gpus() -> tuple[str, ...]:
    """List the GPUs that this process sees, without loading a library; the device `cuda:N` is entry N.

    A name is a value of CUDA_VISIBLE_DEVICES that shows this GPU alone: a number, a UUID or the name of a MIG instance.
    As CUDA does, the list ends at the first entry that is no GPU of the machine.
    """
    count = _gpus_of_machine()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None or count == 0:
        return tuple(map(str, range(count)))
    return tuple(takewhile(lambda name: _may_be_gpu(name, count), map(str.strip, named.split(","))))


def visible_gpu(number: int) -> str:
    """Return the name of the GPU `cuda:number` of this process; see `visible_gpus`.

    Raises:
        UsageError: this process does not see so many.
    """
    names = visible_gpus()
    if number < len(names):
        return names[number]
    limit = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = f"{len(names)} are visible here" if names else "no GPU is visible here"
    raise UsageError(
        f"--device names cuda:{number}, and {seen}{'' if limit is None else f' (CUDA_VISIBLE_DEVICES={limit})'}; "
        + (f"the last one is cuda:{len(names) - 1}" if names else "use --device cpu, or see `rate doctor`")
    )


def check_one_gpu(device: str) -> None:
    """Refuse a device `cuda:N` that this process cannot use, if it sees any GPU.

    Raises:
        UsageError: it does not see so many, or it is a MIG instance behind another one: CUDA shows one to a process.
    """
    kind, number = split_device(device)
    if kind == "cuda" and visible_gpus() and visible_gpu(number).startswith("MIG-") and number:
        raise UsageError(
            f"--device {device} is a MIG instance, and CUDA shows a process the first one alone; set "
            f"CUDA_VISIBLE_DEVICES={visible_gpu(number)} and use --device cuda:0"
        )


def _gpus_of_machine() -> int:
    if Path("/dev/dxg").exists():  # Linux inside Windows, which does not tell how many there are
        return 16
    return sum(1 for _ in Path("/dev").glob("nvidia[0-9]*"))


def _may_be_gpu(name: str, count: int) -> bool:
    return int(name) < count if name.isdecimal() else name.startswith(("GPU-", "MIG-"))


def split_device(device: str) -> tuple[str, int]:
    """Split a device into its kind and number.

    >>> split_device("cuda:1"), split_device("cpu")
    (('cuda', 1), ('cpu', 0))
    """
    kind, _, number = device.partition(":")
    return kind, int(number or 0)
