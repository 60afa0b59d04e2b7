"""What a card can do at most, and how much of it raw and masked forwards and folds use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_checks import Rounded, batch, inputs_of
from benchmarks.gpu_clock import Clock, Run
from rate.backends.batches import ROW_INPUTS
from rate.export.graph.perturbed import Perturbed
from rate.kernels import fold as numpy_form
from rate.kernels.separable import rise

Figures = dict[str, object]

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16}
RESIDENT = 8
"""Images on the device whose masks a batch holds."""

SIDE = 7
HEADS = 2


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    models: tuple[str, ...]
    batch: int
    rounds: int
    seconds: float  # of one round
    copied: int  # bytes
    matrix: int  # side
    masks: int  # of a fold, and of an image in the engine
    images: int  # of the engine
    size: int  # side of the images on which kernels are tried alone


def ceilings(clock: Clock, scale: Scale) -> dict[str, float]:
    """Bytes read and written by a copy in GB/s, and TFLOP/s of a square matrix product in each precision."""
    source = torch.empty(scale.copied, dtype=torch.uint8, device=clock.device).fill_(1)
    target = torch.empty_like(source)
    found = {"copy_gb_per_s": 2 * scale.copied / clock.in_turn({"": lambda: target.copy_(source)})[""].least / 1e9}
    for name, dtype in PRECISIONS.items():
        left, right = (torch.randn(scale.matrix, scale.matrix, device=clock.device).to(dtype) for _ in range(2))
        best = clock.in_turn({"": _product(left, right)})[""].least
        found[f"{name}_tflop_per_s"] = 2 * scale.matrix**3 / best / 1e12
    return found


def _product(left: torch.Tensor, right: torch.Tensor) -> Run:
    return lambda: left @ right


def forwards(clock: Clock, scale: Scale, model: str, most: dict[str, float]) -> Iterator[Figures]:
    """Raw and masked forwards/s of a model in each precision, and their share of the matrix ceiling."""
    flops = flops_of(model)
    for name, dtype in PRECISIONS.items():
        tower, size = made(model, clock.device)
        runs = _runs(clock, scale, Rounded(tower, dtype).eval(), size)
        with torch.inference_mode():
            times = clock.in_turn(runs)
            submit = clock.submit(runs["masked"])
        per_s = {run: scale.batch / one.median for run, one in times.items()}
        yield {
            "model": model,
            "precision": name,
            "batch": scale.batch,
            "gflop_a_forward": flops / 1e9,
            **{f"{run}_forwards_per_s": value for run, value in per_s.items()},
            **{f"{run}_over_raw": value / per_s["raw"] for run, value in per_s.items() if run != "raw"},
            **{f"{run}_share_of_ceiling": v * flops / 1e12 / most[f"{name}_tflop_per_s"] for run, v in per_s.items()},
            "spread": {run: one.most / one.least for run, one in times.items()},
            "host_busy_share": submit / times["masked"].median,
        }


def _runs(clock: Clock, scale: Scale, tower: Rounded, size: int) -> dict[str, Run]:
    """``raw``: images on the device, logits left there. Masked: mask bits uploaded, logits fetched, each batch."""
    images = torch.randn(scale.batch, 3, size, size, device=clock.device, dtype=tower.dtype)
    masked = _masked(clock, scale, Perturbed(tower, [nn.Identity()]), size)
    return {"raw": lambda: tower.tower(images), "masked": masked}


def _masked(clock: Clock, scale: Scale, module: nn.Module, size: int) -> Run:
    family = rise(size, SIDE)
    inputs = inputs_of(family, *batch(family, scale.batch, RESIDENT), torch.device("cpu"))
    bound = {name: value.to(clock.device) for name, value in inputs.items() if name not in ROW_INPUTS}
    pinned = clock.device.type == "cuda"
    rows = {name: inputs[name].pin_memory() if pinned else inputs[name] for name in ROW_INPUTS}
    host: list[torch.Tensor] = []

    def run() -> None:
        (logits,) = module(**bound, **{name: one.to(clock.device, non_blocking=True) for name, one in rows.items()})
        if not host:
            host.append(torch.empty(logits.shape, dtype=logits.dtype, pin_memory=pinned))
        host[0].copy_(logits, non_blocking=True)

    return run


def perturbing(clock: Clock, scale: Scale) -> Figures:
    """Milliseconds of making a masked fp16 batch alone."""
    family = rise(scale.size, SIDE)
    inputs = inputs_of(family, *batch(family, scale.batch, RESIDENT), clock.device)
    graph = Perturbed(_Half(), [nn.Identity()])
    with torch.inference_mode():
        took = clock.in_turn({"": lambda: graph(**inputs)})[""].median
    written = scale.batch * 3 * scale.size**2 * 2
    return {"graph_ms": took * 1e3, "written_gb_per_s": written / took / 1e9}


class _Half(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.half()


def folding(scale: Scale) -> Figures:
    """Milliseconds of folding an image's masks for two heads in numpy, as the engine does it."""
    family = rise(scale.size, SIDE)
    _, rows = batch(family, scale.masks)
    weights = np.random.default_rng(0).normal(size=(HEADS, scale.masks))
    began = time.perf_counter()
    numpy_form.fold(weights, rows.grid, rows.offset, family)
    return {"masks": scale.masks, "heads": HEADS, "numpy_ms": (time.perf_counter() - began) * 1e3}


def flops_of(model: str) -> int:
    """Of one forward: two for each multiplication with its addition in products, convolutions and attention, no more.

    Counted by torch's own counter on the model's shapes, without arithmetic.
    """
    tower, size = made(model, torch.device("meta"))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        tower(torch.empty(1, 3, size, size, device="meta"))
    return int(counter.get_total_flops())


def made(model: str, device: torch.device) -> tuple[nn.Module, int]:
    """A timm model with random weights, 1,000 classes, and the side of its input."""
    import timm

    with _defaulting(device):
        tower = timm.create_model(model, pretrained=False, num_classes=1000).eval()
    return tower, int(tower.pretrained_cfg["input_size"][-1])


@contextmanager
def _defaulting(device: torch.device) -> Iterator[None]:
    """Random weights are drawn where they are to be: on the CPU those of a large model take long."""
    torch.manual_seed(0)
    with device:
        yield
