"""A `Perturbation` on a device, and the check that a kernel's tensors are what it takes them for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from rate.errors import BackendError
from rate.kernels.separable import Perturbation


class Bound(NamedTuple):
    """A `Perturbation` whose numbers lie on a device, laid out for the kernels."""

    reach: Tensor  # f32 [t,s,h] the table with the pixels along memory: threads side by side read side by side
    a: Tensor  # f32 []
    b: Tensor  # f32 []

    @property
    def size(self) -> int:
        """Side of the square image in pixels."""
        return self.reach.shape[2]

    @property
    def side(self) -> int:
        """Side s of the grid."""
        return self.reach.shape[1]


def bind(perturbation: Perturbation, device: torch.device | str) -> Bound:
    """Copy the numbers of ``perturbation`` to ``device``."""
    a, b = (torch.tensor(value, dtype=torch.float32, device=device) for value in (perturbation.a, perturbation.b))
    return bound(torch.tensor(perturbation.table, device=device), a, b)


def bound(table: Tensor, a: Tensor, b: Tensor) -> Bound:
    """The family of masks that the inputs ``table`` [t,h,s], ``a`` and ``b`` of the perturbed graph describe."""
    return Bound(table.transpose(1, 2).contiguous(), a, b)


Form = tuple[tuple[int, ...], tuple[torch.dtype, ...]]
"""Shape, and the types of element that may fill it."""


def check(tensors: Mapping[str, Tensor], forms: Mapping[str, Form], device: torch.device) -> None:
    """Refuse tensors that a kernel would misread: it sees addresses alone.

    Raises:
        BackendError: a tensor has another shape, type or device, or is not contiguous.
    """
    for name, (shape, dtypes) in forms.items():
        found = tensors[name]
        if found.shape != shape or found.dtype not in dtypes or found.device != device or not found.is_contiguous():
            raise BackendError(
                f"{name} must be contiguous {' or '.join(map(str, dtypes))} {shape} on {device}, "
                f"got {'' if found.is_contiguous() else 'non-contiguous '}{found.dtype} {tuple(found.shape)} on "
                f"{found.device}: the batch is malformed"
            )
