"""PyTorch itself, on the CPU or a GPU: what exports are compared with, and the way for models that do not export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rate.backends.base import Backend, Logits, Pending
from rate.backends.batches import Padding, check_rows
from rate.backends.process import split_device
from rate.errors import BackendError, UsageError, need
from rate.kernels.separable import Perturbation
from rate.types import Float32, Rows

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class TorchSpec:
    """A perturbed PyTorch module. It computes in the types of its own weights, whatever the process allows itself."""

    load: Callable[[], nn.Module]  # a module of one's own, on the CPU: inputs of a perturbed graph -> logits, in order
    heads: tuple[str, ...]
    size: int  # side of the square input, pixels
    precision: str = "f32"  # what the module computes in, for the record
    device: str = "cpu"  # cpu | cuda | cuda:N
    compiled: bool = False  # by torch.compile, for batches of one size
    threads: int = 0  # on the CPU; 0 = as the process has it

    def __post_init__(self) -> None:
        if split_device(self.device)[0] not in ("cpu", "cuda"):
            raise UsageError(f"device must be cuda, cuda:N or cpu, got {self.device!r}")

    @property
    def name(self) -> str:
        """`torch`, with `-compiled` and `-cuda` where that is so: the arithmetic differs in its last bits."""
        return "torch" + "-compiled" * self.compiled + "-cuda" * self.device.startswith("cuda")

    @contextmanager
    def open(self, perturbation: Perturbation, slots: int) -> Iterator[Backend]:
        """Load the module and move it to the device; see `BackendSpec`."""
        if perturbation.size != self.size:
            raise BackendError(f"the model takes {self.size} pixels, the masks are made for {perturbation.size}")
        torch = need("torch", "train")
        if self.device != "cpu" and not torch.cuda.is_available():
            raise BackendError(
                f"torch {torch.__version__} sees no CUDA device, --device {self.device} was asked for; "
                "install torch for the CUDA version of the driver, or use --device cpu"
            )
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            yield self._backend(torch, perturbation, slots)
        finally:
            torch.set_num_threads(before)

    def _backend(self, torch: ModuleType, perturbation: Perturbation, slots: int) -> TorchBackend:
        module = self.load().eval()
        try:
            module = module.to(self.device)
            module = torch.compile(module, dynamic=False) if self.compiled else module
            return TorchBackend(module, self, perturbation, slots)
        except RuntimeError as error:
            raise BackendError(
                f"torch cannot put the model and {slots} images on {self.device}: {error}; "
                "a smaller --batch needs less memory"
            ) from error


class TorchBackend:
    """An open `TorchSpec`. On a GPU, batches overlap with the host; on the CPU `submit` computes."""

    def __init__(self, module: nn.Module, spec: TorchSpec, perturbation: Perturbation, slots: int) -> None:
        self._torch = need("torch", "train")
        self.name, self.precision, self.device = spec.name, spec.precision, spec.device
        self.version = str(self._torch.__version__)
        self._gpu = spec.device != "cpu"
        self.depth = 2 if self._gpu else 1
        self._module, self._heads, self._side = module, spec.heads, perturbation.side
        self._padding = Padding() if spec.compiled else None
        size = perturbation.size
        self._pixels = self._torch.zeros((slots, 3, size, size), device=spec.device)
        resident = (perturbation.table, np.float32(perturbation.a), np.float32(perturbation.b))
        self._masks = [self._torch.tensor(np.asarray(value), device=spec.device) for value in resident]

    def put(self, slot: int, pixels: Float32) -> None:
        """Copy ``pixels`` [3,h,w] into the resident images; see `Backend`."""
        self._pixels[slot].copy_(self._host(pixels), non_blocking=self._gpu)

    def submit(self, rows: Rows) -> Pending:
        """Start the forward of ``rows``; see `Backend`."""
        check_rows(rows, self._side)
        fitted = rows if self._padding is None else self._padding.fit(rows)
        try:
            with self._torch.inference_mode(), _exact(self._torch):
                bits = [
                    self._host(array).to(self.device, non_blocking=self._gpu)
                    for array in (fitted.slot, fitted.grid, fitted.offset)
                ]
                logits = self._module(self._pixels, *bits, *self._masks)
                # on a GPU these are copies into pinned memory, complete once the event has passed
                found = [values.float().to("cpu", non_blocking=self._gpu) for values in logits]
            event = self._torch.cuda.current_stream(self.device).record_event() if self._gpu else None
        except (RuntimeError, IndexError) as error:
            raise BackendError(
                f"torch failed on a batch of {len(rows)} rows: {error}; a smaller --batch needs less memory"
            ) from error
        return TorchPending(dict(zip(self._heads, found, strict=True)), len(rows), event)

    def _host(self, array: np.ndarray) -> Tensor:
        """``array`` as a tensor; for a GPU in pinned memory, from where a copy does not wait for the host."""
        tensor: Tensor = self._torch.from_numpy(np.ascontiguousarray(array))
        return tensor.pin_memory() if self._gpu else tensor


@dataclass(frozen=True, slots=True)
class TorchPending:
    """A batch in flight; what pads it is dropped."""

    logits: dict[str, Tensor]
    count: int
    event: Any  # of the stream, behind the copies to the host; None = they are there

    def wait(self) -> Logits:
        """Wait; see `Pending`."""
        if self.event is not None:
            try:
                self.event.synchronize()
            except RuntimeError as error:
                raise BackendError(f"torch failed on a batch of {self.count} rows: {error}") from error
        return {head: values[: self.count].numpy() for head, values in self.logits.items()}


@contextmanager
def _exact(torch: ModuleType) -> Iterator[None]:
    """f32 is f32: no TF32 or bf16 in its place in products and convolutions, whatever the process allows itself."""
    precision, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = convolutions
