"""A torch tower in half precision, with the same f32 operations as a half graph: see `rate.export.precision.half`."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

_KINDS = {"fp16": torch.float16, "bf16": torch.bfloat16}
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d)


class HalfTower(nn.Module):
    """A tower from pixels [b,3,h,w] f32 to features [b,d] f32 that computes in halves.

    Norms are computed in f32, and so is softmax, inside torch's own kernels. Autocast is not used, since it would
    choose other operations, and different ones on a CPU and a GPU.
    """

    def __init__(self, tower: nn.Module, precision: str) -> None:
        """Copy ``tower`` to ``precision``: fp16 | bf16."""
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
        """Compute the features of ``pixels``."""
        features: Tensor = self.tower(pixels.to(self.kind))
        return features.float()

    def _narrow(self, norm: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output.to(self.kind)


def _widen(norm: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].float(), *inputs[1:])
