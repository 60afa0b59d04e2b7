"""`TritonPerturbed` gives the logits of `Perturbed`, in the tower's precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from triton_cases import DEVICE, SMALL, draw, on_device

from rate.export.graph.perturbed import Perturbed
from rate.export.graph.perturbed_triton import TritonPerturbed


@pytest.mark.parametrize(("dtype", "closeness"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)], ids=str)
def test_the_logits_are_those_of_the_form_in_the_graph(dtype: torch.dtype, closeness: float) -> None:
    torch.manual_seed(0)
    perturbation = SMALL
    tower = nn.Sequential(nn.Conv2d(3, 4, 4, 2), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    heads = [nn.Linear(16, 5), nn.Linear(16, 2)]
    pixels = on_device(np.random.default_rng(0).normal(size=(2, 3, 19, 19)).astype(np.float32))
    slot = torch.tensor([1, 0, 1], device=DEVICE)
    table, a, b = (
        torch.tensor(value, dtype=torch.float32, device=DEVICE)
        for value in (perturbation.table, perturbation.a, perturbation.b)
    )
    inputs = (pixels, slot, *draw(perturbation, 3).tensors, table, a, b)
    with torch.inference_mode():
        expected = Perturbed(tower, heads).to(DEVICE)(*inputs)
        found = TritonPerturbed(tower, heads).to(DEVICE, dtype)(*inputs)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.float(), theirs, atol=closeness, rtol=closeness)
