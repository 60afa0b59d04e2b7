"""PyTorch on the CPU or a GPU: the reference for exports, and the backend of models that cannot be exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rate.backends.base import Backend, IdleClock, Logits, Pending, runtime_failure
from rate.backends.batches import check_rows, check_slots, perturbation_feeds, row_feeds
from rate.backends.process import split_device
from rate.errors import BackendError, UsageError, need
from rate.kernels.separable import Perturbation
from rate.types import Picture, Rows, SoftRegion

if TYPE_CHECKING:
    from torch import Tensor, nn

Forward = Callable[..., "Sequence[Tensor]"]
"""Maps the inputs of a perturbed graph to the logits of each head, in order."""


@dataclass(frozen=True, slots=True)
class TorchSpec:
    """A perturbed PyTorch module. It computes in the types of its weights, independent of global settings."""

    load: Callable[[], nn.Module]  # returns a new module on the CPU; see `Forward`
    heads: tuple[str, ...]
    size: int  # side of the square input, pixels
    precision: str = "f32"  # precision of the module, for the record
    device: str = "cpu"  # cpu | cuda | cuda:N
    threads: int = 0  # threads on the CPU; 0 = the process's setting

    def __post_init__(self) -> None:
        if split_device(self.device)[0] not in ("cpu", "cuda"):
            raise UsageError(f"device must be cuda, cuda:N or cpu, got {self.device!r}")

    @property
    def name(self) -> str:
        """The backend's name: `torch`, or `torch-cuda`, whose arithmetic differs in its last bits."""
        return "torch" + "-cuda" * self.device.startswith("cuda")

    @contextmanager
    def open(self, perturbation: Perturbation, slots: int) -> Iterator[Backend]:
        """Load the module and move it to the device; see `BackendSpec`."""
        with self.opened(TorchBackend, perturbation, slots) as backend:
            yield backend

    @contextmanager
    def opened(self, kind: type[TorchBackend], perturbation: Perturbation, slots: int) -> Iterator[TorchBackend]:
        """Do as `open` with a backend of some kind."""
        torch = need("torch", "train")
        if self.device != "cpu" and not torch.cuda.is_available():
            raise BackendError(
                f"torch {torch.__version__} sees no CUDA device, --device {self.device} was asked for; "
                "install torch for the CUDA version of the driver, or use --device cpu"
            )
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        facts = BackendFacts(self.name, self.precision, self.device, str(torch.__version__), self.heads, self.size)
        try:
            backend = kind(lambda: self.load().eval().to(self.device), facts)
            backend.bind(perturbation, slots)
            yield backend
        finally:
            torch.set_num_threads(before)


@dataclass(frozen=True, slots=True)
class BackendFacts:
    """The facts that a backend records about itself, its heads and its device."""

    name: str
    precision: str
    device: str  # torch's name of the device
    version: str
    heads: tuple[str, ...]
    size: int  # side of the square input, pixels
    levels: str = "uint8"  # torch's name of the type in which pictures and regions are kept


class TorchBackend:
    """A function of torch tensors as a backend. On a GPU, batches overlap with the host; on the CPU `submit` computes.

    On a GPU all work is on one stream, so a batch in flight is done before the next batch's inputs replace its own. The
    stream is not the default one, which waits for all others.
    """

    def __init__(self, load: Callable[[], Forward], facts: BackendFacts) -> None:
        """Load the model and allocate the slots; ``load`` runs with the stream as the current one.

        Raises:
            BackendError: the device has no room.
        """
        self._torch = need("torch", "train")
        self.name, self.precision, self.device = facts.name, facts.precision, facts.device
        self.version, self._heads, self._size = facts.version, facts.heads, facts.size
        self._levels = getattr(self._torch, facts.levels)
        self._gpu = facts.device != "cpu"
        self.depth = 3 if self._gpu else 1  # one batch runs, one waits, and the host prepares the third
        self._stream = self._torch.cuda.Stream(facts.device) if self._gpu else None
        self._clock, self._ended = IdleClock(), None
        try:
            with self._torch.cuda.stream(self._stream):
                self._forward = load()
        except RuntimeError as error:
            raise runtime_failure(
                f"{self.name} cannot put the model on {facts.device}", error, "free memory there, or use --device cpu"
            ) from error

    def bind(self, perturbation: Perturbation, slots: int) -> None:
        """See `Backend`."""
        size = perturbation.size
        if size != self._size:
            raise BackendError(f"the model takes {self._size} pixels, the masks are made for {size}")
        check_slots(slots)
        self._perturbation, self._slots = perturbation, slots
        family = perturbation_feeds(perturbation).values()
        if self._gpu:  # what other batches have left is in pieces of other sizes
            self._torch.cuda.empty_cache()
        try:
            with self._torch.cuda.stream(self._stream):
                zeros = partial(self._torch.zeros, device=self.device)
                self._pictures = zeros((slots, 3, size, size), dtype=self._levels), zeros((slots, 3)), zeros((slots, 3))
                self._region = zeros((slots, size, size), dtype=self._levels)
                self._masks = [self._torch.tensor(value, device=self.device) for value in family]
        except RuntimeError as error:
            raise runtime_failure(f"{self.name} cannot put {slots} images on {self.device}", error) from error

    def put(self, slot: int, picture: Picture, region: SoftRegion | None = None) -> None:
        """See `Backend`."""
        with self._torch.cuda.stream(self._stream):
            given: tuple[np.ndarray, ...] = (picture.levels, picture.zero, picture.scale)
            for kept, array in zip(self._pictures, given, strict=True):
                kept[slot].copy_(self._sent(array))
            if region is None:
                self._region[slot].zero_()
            else:
                self._region[slot].copy_(self._sent(region))

    def submit(self, rows: Rows) -> Pending:
        """Start the forward of ``rows``; see `Backend`."""
        check_rows(rows, self._perturbation, self._slots)
        try:
            with (
                self._clock.batch() as idle_s,
                self._torch.cuda.stream(self._stream),
                self._torch.inference_mode(),
                _exact(self._torch, self.device),
            ):
                bits = [self._sent(array) for array in row_feeds(rows).values()]
                began = self._event()
                logits = self._compute(rows, (*self._pictures, self._region, *bits, *self._masks))
                gap, self._ended = (self._ended, began), self._event()
                # on a GPU these are copies into pinned memory, complete once the event has passed
                outputs = [values.float().to("cpu", non_blocking=self._gpu) for values in logits]
                copied = self._event()
        except (RuntimeError, IndexError) as error:
            raise _failed(self.name, len(rows), error) from error
        named = dict(zip(self._heads, outputs, strict=True))
        return TorchPending(self.name, named, len(rows), copied, gap, idle_s)

    def _compute(self, rows: Rows, inputs: tuple[Tensor, ...]) -> Sequence[Tensor]:
        """Compute the logits of each head for the inputs of a perturbed graph, which are on the device."""
        return self._forward(*inputs)

    def _event(self) -> Any:
        """Record an event on the stream; None on the CPU."""
        return None if self._stream is None else self._stream.record_event(self._torch.cuda.Event(enable_timing=True))

    def _sent(self, array: np.ndarray) -> Tensor:
        """Copy ``array`` to a tensor of its type on the device, for a GPU from pinned memory without blocking the host.

        A slot of another type is filled from there, so that the bytes on the way are those of the array.
        """
        tensor: Tensor = self._torch.tensor(array)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self._gpu else tensor


@dataclass(frozen=True, slots=True)
class TorchPending:
    """A batch in flight."""

    name: str  # name of the backend
    logits: dict[str, Tensor]
    count: int
    event: Any  # the stream's event after the copies to the host; None = the logits are on the host
    gap: tuple[Any, Any]  # events at the end of the forward before and at the beginning of this one, None on the CPU
    host_idle_s: float  # on the CPU, where `submit` computes

    @property
    def idle_s(self) -> float:
        """See `Pending`; on a GPU the copies to it count as idle."""
        before, began = self.gap
        if began is None:
            return self.host_idle_s
        return 0.0 if before is None else max(0.0, before.elapsed_time(began) / 1e3)

    def wait(self) -> Logits:
        """Wait for the batch; see `Pending`."""
        if self.event is not None:
            try:
                self.event.synchronize()
            except RuntimeError as error:
                raise _failed(self.name, self.count, error) from error
        return {head: values.numpy() for head, values in self.logits.items()}


def _failed(name: str, rows: int, error: Exception) -> BackendError:
    return runtime_failure(f"{name} failed on a batch of {rows} rows", error)


@contextmanager
def _exact(torch: ModuleType, device: str) -> Iterator[None]:
    """Compute in the types of the weights, without TF32, bf16 or a caller's autocast."""
    precision, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = convolutions
