"""One execution context of a plan, for one batch at a time: its buffers, its stream, its captured graph.

Shapes and addresses are set once, for one rung of the plan's ladder, and never again: what is captured stays true for
as long as the lane lives. Another rung, another table or other resident images are other lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rate.backends.base import Logits
from rate.backends.tensorrt.device_memory import Device
from rate.backends.tensorrt.library import Messages
from rate.errors import BackendError
from rate.types import Rows

if TYPE_CHECKING:
    from torch import Tensor

ROW_INPUTS = ("slot", "grid", "offset")
"""Inputs that come with a batch; the others stay on the device."""

_DTYPES = ("float32", "float16", "bfloat16", "int64", "int32")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plan in the library's hands."""

    library: Any
    engine: Any  # ICudaEngine
    device: Device
    log: Messages
    plan: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def error(self, what: str, cure: str) -> BackendError:
        """What failed, why as far as the library says, and what to do."""
        return BackendError(f"{what} ({self.plan.name}: {self.log.take()}); {cure}")

    def dtype(self, name: str) -> str:
        """Type of an input or output, as torch and numpy call it."""
        found = self.engine.get_tensor_dtype(name)
        for known in _DTYPES:
            if found == getattr(self.library, known):
                return known
        raise self.error(f"{name} is {found}, expected one of {', '.join(_DTYPES)}", "export the artifact again")

    def profile_of(self, rung: int) -> int:
        """Number of the optimisation profile for batches of exactly ``rung`` rows."""
        rungs = [
            tuple(self.engine.get_tensor_profile_shape("slot", index)[2])
            for index in range(self.engine.num_optimization_profiles)
        ]
        if (rung,) not in rungs:
            raise self.error(f"the plan has batches of {[one[0] for one in rungs]} rows, asked for {rung}", _REBUILD)
        return rungs.index((rung,))


_REBUILD = "build the plan again: rate export ARTIFACT --format tensorrt"


class Lane:
    """A context on one rung. Not thread-safe, and one batch at a time: fetch before the next start."""

    def __init__(self, loaded: Loaded, rung: int, resident: Mapping[str, Tensor], capture: bool) -> None:
        """Bind everything, run once for nothing, and capture what the run put on the stream.

        Args:
            loaded: the plan.
            rung: rows of every batch.
            resident: inputs that stay on the device, and are shared with other lanes.
            capture: replay batches as a CUDA graph; else each is enqueued anew.

        Raises:
            BackendError: the device has no room, or the library refuses a shape, an address or the run.
        """
        self.rung = rung
        self._loaded, self._device = loaded, loaded.device
        self._context = loaded.engine.create_execution_context()
        if self._context is None:
            raise loaded.error("there is no room for an execution context", "use a smaller --plan-batch")
        self._stream = self._device.stream()
        profile = loaded.profile_of(rung)
        self._select(profile)
        side = resident["table"].shape[2]
        shapes = {"slot": (rung,), "grid": (rung, side, side), "offset": (rung, 2)}
        self._staged = {name: self._device.pinned(shapes[name], loaded.dtype(name)) for name in ROW_INPUTS}
        self._inputs = {name: self._device.zeros(shapes[name], loaded.dtype(name)) for name in ROW_INPUTS}
        self._bind({**resident, **self._inputs}, profile)
        self._outputs = {name: self._zeros_like_output(name) for name in loaded.outputs}
        self._results = {
            name: self._device.pinned(tuple(tensor.shape), loaded.dtype(name)) for name, tensor in self._outputs.items()
        }
        self._address({**resident, **self._inputs, **self._outputs})
        self._run = self._enqueue
        self._enqueue()  # setting shapes left work for the first run, which a capture would not record
        self.synchronize()
        if capture:
            self._run = self._captured()

    def start(self, rows: Rows, part: slice) -> None:
        """Enqueue the forward of some of ``rows``, at most as many as the rung has; older rows pad the rest."""
        arrays: tuple[np.ndarray, ...] = (rows.slot, rows.grid, rows.offset)
        for name, array in zip(ROW_INPUTS, arrays, strict=True):
            values = self._device.host(array[part])
            staged = self._staged[name]
            staged[: len(values)].copy_(values)
            self._device.copy(self._inputs[name], staged, self._stream)
        self._run()
        for name, result in self._results.items():
            self._device.copy(result, self._outputs[name], self._stream)

    def fetch(self, count: int, heads: Iterable[str]) -> Logits:
        """Wait for the batch; the logits [b,c] of its first ``count`` rows, owned by the caller."""
        self.synchronize()
        return {head: np.array(self._results[f"logits_{head}"][:count].float().numpy()) for head in heads}

    def synchronize(self) -> None:
        """Wait for the stream.

        Raises:
            BackendError: the device failed in something enqueued before.
        """
        try:
            self._stream.synchronize()
        except RuntimeError as error:
            raise self._loaded.error(f"the GPU failed in a batch of {self.rung} rows: {error}", _REBUILD) from error

    def _select(self, profile: int) -> None:
        try:
            chosen = self._context.set_optimization_profile_async(profile, self._stream.handle)
        except RuntimeError as error:
            raise self._loaded.error(f"profile {profile} cannot be selected: {error}", _REBUILD) from error
        if not chosen:
            raise self._loaded.error(f"profile {profile} cannot be selected", _REBUILD)
        self.synchronize()

    def _bind(self, tensors: Mapping[str, Tensor], profile: int) -> None:
        """Give every input with a free axis its shape."""
        engine = self._loaded.engine
        for name in self._loaded.inputs:
            if -1 not in tuple(engine.get_tensor_shape(name)):
                continue
            shape = tuple(tensors[name].shape)
            if not self._context.set_input_shape(name, shape):
                low, _, high = (tuple(dims) for dims in engine.get_tensor_profile_shape(name, profile))
                raise self._loaded.error(
                    f"{name} has the shape {shape}, the plan takes {low} to {high}",
                    "use a coarser grid, larger windows or a smaller --batch, or another --backend",
                )
        if missing := list(self._context.infer_shapes()):
            raise self._loaded.error(f"the shapes of {', '.join(missing)} are not known", _REBUILD)

    def _zeros_like_output(self, name: str) -> Tensor:
        shape = tuple(self._context.get_tensor_shape(name))
        if -1 in shape or shape[0] != self.rung:
            raise self._loaded.error(f"{name} has the shape {shape}, expected {self.rung} rows", _REBUILD)
        return self._device.zeros(shape, self._loaded.dtype(name))

    def _address(self, tensors: Mapping[str, Tensor]) -> None:
        for name in (*self._loaded.inputs, *self._loaded.outputs):
            if not self._context.set_tensor_address(name, tensors[name].data_ptr()):
                raise self._loaded.error(f"the address of {name} is refused", _REBUILD)

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise self._loaded.error(
                f"TensorRT cannot run a batch of {self.rung} rows", "free memory of the GPU, or build the plan again"
            )

    def _captured(self) -> Callable[[], None]:
        try:
            return self._device.capture(self._stream, self._enqueue)
        except (RuntimeError, BackendError) as error:
            raise self._loaded.error(f"the plan cannot be captured as a CUDA graph: {error}", _REBUILD) from error
