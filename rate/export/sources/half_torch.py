"""A torch tower in half precision, with the islands that a half graph has: see `rate.export.precision.half`."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

_KINDS = {"fp16": torch.float16, "bf16": torch.bfloat16}
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d)


class HalfTower(nn.Module):
    """Pixels [b,3,h,w] f32 -> features [b,d] f32, in halves in between.

    Norms are computed in f32. So is softmax, inside torch's own kernels. Nothing is left to autocast, which would
    choose other islands, and others on a CPU than on a GPU.
    """

    def __init__(self, tower: nn.Module, precision: str) -> None:
        """A copy of ``tower`` in ``precision``: fp16 | bf16."""
        super().__init__()
        self.kind = _KINDS[precision]
        self.tower = copy.deepcopy(tower)
        norms = [(module, module.state_dict()) for module in self.tower.modules() if isinstance(module, _NORMS)]
        self.tower.to(self.kind)
        for norm, weights in norms:
            norm.float().load_state_dict(weights)
            norm.register_forward_pre_hook(_widen)
            norm.register_forward_hook(self._narrow)

    def forward(self, pixels: Tensor) -> Tensor:
        """Features of ``pixels``."""
        features: Tensor = self.tower(pixels.to(self.kind))
        return features.float()

    def _narrow(self, norm: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output.to(self.kind)


def _widen(norm: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].float(), *inputs[1:])
