"""The resources that this process may use: cores, BLAS threads, GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from threadpoolctl import threadpool_limits


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
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()  # dxg: Linux inside Windows


def split_device(device: str) -> tuple[str, int]:
    """Split a device into its kind and number.

    >>> split_device("cuda:1"), split_device("cpu")
    (('cuda', 1), ('cpu', 0))
    """
    kind, _, number = device.partition(":")
    return kind, int(number or 0)
