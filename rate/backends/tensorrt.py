"""TensorRT on a GPU: a plan that `rate.export.tensorrt` built, as a function of torch tensors.

The module has not been run on a GPU. It is tested against a stand-in for the library (tests/standin_tensorrt.py), which
returns what NVIDIA's documents and Python bindings state and computes the plan's graph with ONNX Runtime. TensorRT
10.12 and 11 share all calls used here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rate.backends.base import Backend, Graph, runtime_failure
from rate.backends.batches import INPUTS, ROW_INPUTS
from rate.backends.tensorrt_library import Gpu, Messages, load_tensorrt, open_gpu, open_log
from rate.backends.torch import BackendFacts, TorchBackend
from rate.errors import BackendError, UsageError, need
from rate.kernels.separable import Perturbation

if TYPE_CHECKING:
    from torch import Tensor

_DTYPES = ("float32", "float16", "bfloat16", "int64", "int32")
_REBUILD = "build it again on this machine: rate export ARTIFACT --format tensorrt"


@dataclass(frozen=True, slots=True)
class TensorRtSpec:
    """A plan of a graph that masks pixels. `rate.artifacts.plans` locates it and checks that it fits this machine.

    TensorRT gathers no 8-bit integers, so the plan takes levels and weights as floats: they are sent as 8 bits and
    widened on the GPU, once an image.
    """

    graph: Graph  # the graph of which the plan was built
    plan: Path
    sha256: str  # digest of the plan, which is executable code: no other file is loaded
    batch_sizes: tuple[int, ...]  # usable batch sizes, ascending; the plan has a profile for each
    capture: bool = True  # replay batches as CUDA graphs
    device: str = "cuda:0"
    name: str = "tensorrt"

    def __post_init__(self) -> None:
        if self.graph.patches is not None:
            raise UsageError(
                f"{self.graph.path} drops patches, and no plan is built for that; use another --backend, or "
                "--saliency rise"
            )

    @property
    def precision(self) -> str:
        """The precision of the graph, which the plan has too, because it is strongly typed."""
        return self.graph.precision

    @contextmanager
    def open(self, perturbation: Perturbation, slots: int) -> Iterator[Backend]:
        """Deserialise the plan; see `BackendSpec`."""
        gpu = open_gpu(self.device)  # torch must be imported first; see `load_tensorrt`
        library = load_tensorrt()
        facts = BackendFacts(
            self.name,
            self.precision,
            gpu.device,
            str(library.__version__),
            self.graph.heads,
            self.graph.size,
            "float32",
        )
        backend = TorchBackend(lambda: PlanForward(_load(self, gpu, library), self), facts)
        backend.bind(perturbation, slots)
        yield backend


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """A plan that the library has loaded."""

    library: Any
    engine: Any  # ICudaEngine
    gpu: Gpu
    log: Messages
    plan: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def error(self, what: str, cure: str = _REBUILD) -> BackendError:
        """Make the error that names what failed, the library's reason, and the cure."""
        return runtime_failure(what, f"{self.plan.name}, {self.log.take()}", cure)

    def dtype(self, name: str) -> Any:
        """Return torch's type of an input or output."""
        actual = self.engine.get_tensor_dtype(name)
        for known in _DTYPES:
            if actual == getattr(self.library, known):
                return getattr(need("torch", "train"), known)
        raise self.error(f"{name} is {actual}, expected one of {', '.join(_DTYPES)}", "export the artifact again")

    def zeros(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Allocate zeros on the GPU with the type of the input or output ``name``."""
        zeros: Tensor = need("torch", "train").zeros(shape, dtype=self.dtype(name), device=self.gpu.device)
        return zeros

    def profile_of(self, batch_size: int) -> int:
        """Return the number of the optimisation profile for batches of exactly ``batch_size`` rows."""
        sizes = [
            int(self.engine.get_tensor_profile_shape("slot", index)[2][0])
            for index in range(self.engine.num_optimization_profiles)
        ]
        if batch_size not in sizes:
            raise self.error(f"the plan has batches of {sizes} rows, asked for {batch_size}")
        return sizes.index(batch_size)


def _load(spec: TensorRtSpec, gpu: Gpu, library: Any) -> LoadedPlan:
    log = open_log(library)
    engine = library.Runtime(log).deserialize_cuda_engine(_read(spec))
    if engine is None:
        raise BackendError(f"TensorRT {library.__version__} cannot load {spec.plan} ({log.take()}); {_REBUILD}")
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = tuple(name for name in names if engine.get_tensor_mode(name) == library.TensorIOMode.INPUT)
    outputs = tuple(f"logits_{head}" for head in spec.graph.heads)
    if strange := {*inputs, *outputs} ^ {*names} | {*inputs} - {*INPUTS}:
        raise BackendError(f"{spec.plan} was not built from {spec.graph.path}: {sorted(strange)}; {_REBUILD}")
    # The host reads such an input while it computes shapes, and would need an address on the host.
    if on_host := [name for name in inputs if engine.is_shape_inference_io(name)]:
        raise BackendError(
            f"{spec.plan} makes shapes of the values of {', '.join(on_host)}, which are on the GPU; "
            "the model's forward must not depend on them: use another --backend"
        )
    return LoadedPlan(library, engine, gpu, log, spec.plan, inputs, outputs)


def _read(spec: TensorRtSpec) -> bytes:
    try:
        content = spec.plan.read_bytes()
    except OSError as error:
        raise BackendError(f"{spec.plan} cannot be read ({error.strerror}); {_REBUILD}") from error
    if (actual := hashlib.sha256(content).hexdigest()) != spec.sha256:
        raise BackendError(
            f"{spec.plan} has changed and is not loaded: its sha256 is {actual[:12]}..., recorded is "
            f"{spec.sha256[:12]}...; {_REBUILD}"
        )
    return content


class PlanForward:
    """A plan as a function from the inputs of the perturbed graph to the logits of each head, on the current stream.

    Batches of other sizes than the plan's are padded, and larger ones are split; no call waits.
    """

    def __init__(self, loaded: LoadedPlan, spec: TensorRtSpec) -> None:
        self._loaded, self._sizes, self._capture = loaded, spec.batch_sizes, spec.capture
        self._contexts: dict[int, Context] = {}
        self._pixels: Tensor | None = None

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Compute logits [b,c] of each head from ``inputs`` in the order of `INPUTS`; only the rows may change."""
        named = dict(zip(INPUTS, inputs, strict=True))
        if named["pixels"] is not self._pixels:  # contexts hold on to the addresses of what they were made for
            self._contexts, self._pixels = {}, named["pixels"]
        parts = [
            self._context(size, named).run([named[name][part] for name in ROW_INPUTS])
            for part, size in split_rows(len(named["slot"]), self._sizes)
        ]
        torch = need("torch", "train")
        return [torch.cat(values) for values in zip(*parts, strict=True)]

    def _context(self, size: int, inputs: Mapping[str, Tensor]) -> Context:
        if size not in self._contexts:
            self._contexts[size] = Context(self._loaded, size, inputs, self._capture)
        return self._contexts[size]


def split_rows(count: int, sizes: tuple[int, ...]) -> list[tuple[slice, int]]:
    """Split ``count`` rows into batches of ascending ``sizes``: first the largest ones, then the smallest that fits the
    rest.
    """
    largest = sizes[-1]
    batches = [(slice(at, at + largest), largest) for at in range(0, count - largest + 1, largest)]
    done = len(batches) * largest
    if done < count:
        batches.append((slice(done, count), next(size for size in sizes if size >= count - done)))
    return batches


class Context:
    """An execution context for batches of one size, with its buffers and its captured graph.

    Shapes and addresses never change, so the captured graph stays valid.
    """

    def __init__(self, loaded: LoadedPlan, size: int, inputs: Mapping[str, Tensor], capture: bool) -> None:
        """Bind all tensors, run once to warm up, and capture the work of that run.

        Raises:
            BackendError: the device has no room, or the library refuses a shape, an address or the run.
        """
        self._loaded, self._size = loaded, size
        # Memory for intermediate results is allocated for this profile, not for the largest one.
        strategy = loaded.library.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        self._context = loaded.engine.create_execution_context(strategy)
        if self._context is None:
            raise loaded.error("an execution context cannot be made")
        profile = loaded.profile_of(size)
        self._select(profile)
        rows = {name: loaded.zeros(name, (size, *inputs[name].shape[1:])) for name in ROW_INPUTS}
        tensors = {**inputs, **rows}
        self._bind(tensors, profile)
        outputs = {name: loaded.zeros(name, self._output_shape(name)) for name in loaded.outputs}
        self._rows, self._outputs = list(rows.values()), list(outputs.values())
        self._address({**tensors, **outputs})
        self._enqueue()  # setting shapes queued work for the first run, which a capture would not record
        loaded.gpu.synchronize()
        self._run = self._captured() if capture else self._enqueue

    def run(self, rows: list[Tensor]) -> list[Tensor]:
        """Enqueue the forward of at most as many rows as the context has; older rows pad them."""
        count = len(rows[0])
        for buffer, values in zip(self._rows, rows, strict=True):
            buffer[:count].copy_(values)
        self._run()
        return [output[:count].clone() for output in self._outputs]

    def _select(self, profile: int) -> None:
        try:
            chosen = self._context.set_optimization_profile_async(profile, self._loaded.gpu.stream())
        except RuntimeError as error:
            raise self._loaded.error(f"profile {profile} cannot be selected: {error}") from error
        if not chosen:
            raise self._loaded.error(f"profile {profile} cannot be selected")
        self._loaded.gpu.synchronize()

    def _bind(self, tensors: Mapping[str, Tensor], profile: int) -> None:
        """Set the shape of every input with a free axis."""
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
            raise self._loaded.error(f"the shapes of {', '.join(missing)} are not known")

    def _output_shape(self, name: str) -> tuple[int, ...]:
        shape = tuple(self._context.get_tensor_shape(name))
        if -1 in shape or shape[0] != self._size:
            raise self._loaded.error(f"{name} has the shape {shape}, expected {self._size} rows")
        return shape

    def _address(self, tensors: Mapping[str, Tensor]) -> None:
        for name in (*self._loaded.inputs, *self._loaded.outputs):
            if tensors[name].dtype != self._loaded.dtype(name):
                raise self._loaded.error(
                    f"{name} is {self._loaded.dtype(name)} in the plan, and {tensors[name].dtype} is given"
                )
            if not self._context.set_tensor_address(name, tensors[name].data_ptr()):
                raise self._loaded.error(f"the address of {name} is refused")

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._loaded.gpu.stream()):
            raise self._loaded.error(f"TensorRT cannot run a batch of {self._size} rows")

    def _captured(self) -> Callable[[], None]:
        try:
            return self._loaded.gpu.capture(self._enqueue)
        except (RuntimeError, BackendError) as error:
            raise self._loaded.error(f"the plan cannot be captured as a CUDA graph: {error}") from error
