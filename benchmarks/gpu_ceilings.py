"""What a card can do at most: copies, products, the bare tower in torch, and a plan by NVIDIA's own `trtexec`."""

from __future__ import annotations

import math
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rate.backends.batches import clean_rows, row_feeds
from rate.kernels.separable import rise

if TYPE_CHECKING:
    from rate.artifacts.plans import Plan

Figures = dict[str, object]

ROUNDS, SECONDS = 5, 0.4


def card(device: str) -> Figures:
    """The device's name and what speed depends on."""
    about: Figures = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if device == "cpu":
        return {"name": "cpu smoke"} | about
    found = torch.cuda.get_device_properties(device)
    about |= {"name": found.name, "memory_gb": found.total_memory / 1e9, "processors": found.multi_processor_count}
    about |= {"capability": f"{found.major}.{found.minor}"}
    if shutil.which("nvidia-smi") is not None:
        command = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        about |= dict(zip(("driver", "power_limit"), done.stdout.partition("\n")[0].split(", "), strict=False))
    return about


def ceilings(device: str, copied: int, matrix: int) -> dict[str, float]:
    """Bytes read and written by a copy in GB/s, and TFLOP/s of a square product in fp16."""
    source = torch.empty(copied, dtype=torch.uint8, device=device).fill_(1)
    target = torch.empty_like(source)
    left, right = (torch.randn(matrix, matrix, device=device).half() for _ in range(2))
    return {
        "copy_gb_per_s": 2 * copied / seconds(device, lambda: target.copy_(source))[0] / 1e9,
        "tflop_per_s": 2 * matrix**3 / seconds(device, lambda: left @ right)[0] / 1e12,
    }


def tower(device: str, model: str, batch: int) -> Figures:
    """Forwards/s of the bare model in fp16, f32 on a CPU, on a batch that is on the device; operations of a forward.

    Operations are two for each multiplication with its addition in products, convolutions and attention, and nothing
    for the rest; torch counts them on the shapes, without arithmetic.
    """
    size = int(made(model, "meta").pretrained_cfg["input_size"][-1])
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        made(model, "meta")(torch.empty(1, 3, size, size, device="meta"))
    kind = torch.float32 if device == "cpu" else torch.float16
    module, images = made(model, device).to(kind), torch.randn(batch, 3, size, size, device=device, dtype=kind)
    with torch.inference_mode():
        least, median = seconds(device, lambda: module(images))
    return {
        "flop": int(counter.get_total_flops()),
        "batch": batch,
        "forwards_per_s": batch / median,
        "spread": median / least,
    }


def made(model: str, device: str) -> nn.Module:
    """A timm model with random weights, drawn on the device: on a CPU those of a large one take long."""
    import timm

    torch.manual_seed(0)
    with torch.device(device):
        whole: nn.Module = timm.create_model(model, pretrained=False, num_classes=1000).eval()
    return whole


def seconds(device: str, run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one call: the least of the rounds, and their median; the first one warms up and is thrown away."""

    def once(calls: int) -> float:
        _wait(device)
        began = time.perf_counter()
        for _ in range(calls):
            run()
        _wait(device)
        return (time.perf_counter() - began) / calls

    once(1)
    calls = max(1, round(SECONDS / max(once(1), 1e-6))) if device != "cpu" else 1
    rounds = [once(calls) for _ in range(ROUNDS + 1)][1:]
    return min(rounds), statistics.median(rounds)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def trtexec(plan: Plan | None, batch: int, left_s: float) -> Figures:
    """Forwards/s of the plan by `trtexec`, without uploads and downloads; ``why`` where that cannot be measured.

    The inputs are zeros: random numbers would be no slots of images.
    """
    program = shutil.which("trtexec")
    if plan is None or program is None or left_s < 30:
        missing = "no plan" if plan is None else "trtexec is not on PATH" if program is None else "no time was left"
        return {"why": missing}
    with tempfile.TemporaryDirectory() as folder:
        command = [str(program), *arguments(plan, batch, Path(folder))]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=left_s)
        except subprocess.TimeoutExpired:
            return {"why": f"it took longer than {left_s:.0f} s", "command": command}
    found = re.search(r"Throughput: ([\d.]+) qps", done.stdout)
    if done.returncode != 0 or found is None:
        return {"why": (done.stderr or done.stdout).strip()[-500:], "command": command}
    fused = len(set(re.findall(r"\S*(?:mha|MHA|Attention)\S*", done.stdout)))
    return {"forwards_per_s": float(found[1]) * batch, "fused_attention_names": fused, "command": command}


def arguments(plan: Plan, batch: int, folder: Path) -> list[str]:
    """The arguments of `trtexec` for batches of ``batch`` rows of a plan; inputs are files of zeros in ``folder``."""
    index = plan.batch_sizes.index(batch)
    shapes = {name: dims[1] for name, dims in plan.facts.profiles[index].items()}
    rows = row_feeds(clean_rows(rise(8, 2), np.zeros(1, np.int64)))
    for name, shape in shapes.items():
        kind = rows[name].dtype if name in rows else np.dtype(np.float32)
        (folder / f"{name}.raw").write_bytes(bytes(math.prod(shape) * kind.itemsize))
    return [
        f"--loadEngine={plan.path}",
        f"--useProfile={index}",
        "--shapes=" + ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items()),
        "--loadInputs=" + ",".join(f"{name}:{folder / name}.raw" for name in shapes),
        "--useCudaGraph",
        "--noDataTransfers",
        "--warmUp=1000",
        "--duration=5",
        "--dumpLayerInfo",
        "--profilingVerbosity=detailed",
    ]
