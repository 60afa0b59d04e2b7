"""A stand-in for the module `tensorrt` and for a GPU's memory, at the boundary of a library that cannot be installed.

It mimics the return values that callers must handle, as they stand in NVIDIA's documentation and Python bindings
(python/src/infer/pyCore.cpp and python/src/parsers/pyOnnx.cpp of the TensorRT repository):

    OnnxParser.parse                 bool; errors are objects whose facts are methods: node(), node_name(), desc(), ...
    IOptimizationProfile.set_shape   raises RuntimeError where min <= opt <= max does not hold
    IBuilderConfig.add_optimization_profile   index, -1 on failure
    IBuilderConfig.create_timing_cache        an ITimingCache; set_timing_cache(cache, ignore_mismatch) -> bool
    Builder.build_serialized_network          IHostMemory (buffer protocol); None on failure or where a monitor cancels
    IProgressMonitor.step_complete            False cancels the build; exceptions of monitors are swallowed
    Runtime.deserialize_cuda_engine           None on failure
    ICudaEngine.create_execution_context      None without memory
    IExecutionContext.set_optimization_profile_async   True; raises RuntimeError on failure
    IExecutionContext.set_input_shape, set_tensor_address, execute_async_v3   bool
    IExecutionContext.infer_shapes            names of the inputs whose shape is missing
    ILogger.log                               errors arrive here, and nowhere else

Version 11 lacks what its release removed (`BuilderFlag.FP16`, `NetworkDefinitionCreationFlag.EXPLICIT_BATCH`, ...), so
code that works with both uses none of it. `tests/backends/test_tensorrt_bindings.py` holds names, parameters and values
against the real bindings. A plan here is JSON with the ONNX graph; an engine computes it with
ONNX Runtime, on the addresses it was given.

`HostGpu` is the GPU: its memory is torch's on the CPU, and its stream does its work at once. A capture records what is
put on the stream and does none of it; the first run after a shape was set is refused in a capture, as the documents
demand.
"""

from __future__ import annotations

import base64
import ctypes
import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

Severity = IntEnum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"], start=0)
_DATA_TYPES = ["FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "FP8", "BF16", "INT64", "INT4", "FP4", "E8M0"]
DataType = IntEnum("DataType", _DATA_TYPES, start=0)
_ONNX_TYPES = {1: DataType.FLOAT, 2: DataType.UINT8, 6: DataType.INT32, 7: DataType.INT64, 10: DataType.HALF}
_ONNX_TYPES[16] = DataType.BF16
_NUMPY = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT64: np.int64, DataType.INT32: np.int32}


class ILogger:
    """Base of loggers; like the bindings it needs its own __init__ called."""

    INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING

    def __init__(self) -> None:
        self.initialised = True


class IProgressMonitor:
    """Base of monitors."""

    def __init__(self) -> None:
        self.initialised = True


def _initialised(obj: Any, base: type) -> Any:
    if not isinstance(obj, base) or not getattr(obj, "initialised", False):
        raise TypeError(f"{base.__name__}.__init__() must be called when overriding __init__")
    return obj


@dataclass
class HostGpu:
    """See the module's docstring; the counters are for tests."""

    name: str = "NVIDIA Stand-in 1"
    capability: str = "9.0"
    cuda: str = "13.0"
    device: str = "cpu"
    recording: list[Callable[[], None]] | None = None
    captures: int = 0
    replays: int = 0
    capture_fails: bool = False

    def stream(self) -> int:
        return 7  # never 0: that is the default stream

    def synchronize(self) -> None:
        assert self.recording is None, "a stream that is being captured cannot be waited for"

    def put(self, work: Callable[[], None]) -> None:
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1
        self.recording = []
        try:
            enqueue()
        finally:
            recorded, self.recording = self.recording, None
        if self.capture_fails:
            raise RuntimeError("operation not permitted when stream is capturing")

        def replay() -> None:
            self.replays += 1
            for work in recorded:
                work()

        return replay


@dataclass
class Faults:
    """What is to go wrong, by the name of the call that then fails."""

    calls: set[str] = field(default_factory=set)
    logits: float = 0.0  # added to them: a kernel that is silently wrong
    logits_rows: int | None = None  # only in batches of this many rows
    fused: bool = True  # whether attentions become one kernel
    host_input: str = ""  # an input whose values make a shape
    phases: tuple[tuple[str, str | None, int], ...] = (("Building", None, 2), ("Tactics", "Building", 3))


@dataclass
class Standin:
    """The module, for one version of the library. ``trace`` has the calls of engines and contexts in order."""

    version: str = "10.13.2.6"
    gpu: HostGpu = field(default_factory=HostGpu)
    faults: Faults = field(default_factory=Faults)
    trace: list[tuple[Any, ...]] = field(default_factory=list)
    built: list[dict[str, Any]] = field(default_factory=list)
    cache_seen: list[bytes] = field(default_factory=list)

    def install(self, monkeypatch: Any, state: Path) -> Standin:
        """Be the library and the GPU of this test; ``state``: where the user's state goes."""
        monkeypatch.setitem(sys.modules, "tensorrt", self.module())
        monkeypatch.setattr("rate.backends.tensorrt_library.Gpu", lambda device: self.gpu)
        monkeypatch.setenv("XDG_STATE_HOME", str(state))
        return self

    def calls(self, number: int) -> list[tuple[Any, ...]]:
        """Calls of a context, by its number."""
        return [(call[0], *call[2:]) for call in self.trace if call[1] == number]

    def module(self) -> types.ModuleType:
        """To be put into sys.modules as "tensorrt"."""
        found = types.ModuleType("tensorrt")
        new = int(self.version.split(".")[0]) >= 11
        flags = {"REFIT": 4, "TF32": 6} | ({} if new else {"FP16": 0, "INT8": 1, "BF16": 17})
        creation = {"STRONGLY_TYPED": 0} if new else {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
        names = {
            "__version__": self.version,
            "ILogger": ILogger,
            "IProgressMonitor": IProgressMonitor,
            "NetworkDefinitionCreationFlag": IntEnum("NetworkDefinitionCreationFlag", creation),
            "BuilderFlag": IntEnum("BuilderFlag", flags),
            "MemoryPoolType": IntEnum("MemoryPoolType", ["WORKSPACE"], start=0),
            "ProfilingVerbosity": IntEnum("ProfilingVerbosity", ["LAYER_NAMES_ONLY", "NONE", "DETAILED"], start=0),
            "ExecutionContextAllocationStrategy": IntEnum(
                "ExecutionContextAllocationStrategy", ["STATIC", "ON_PROFILE_CHANGE", "USER_MANAGED"], start=0
            ),
            "TensorIOMode": IntEnum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"], start=0),
            "LayerInformationFormat": IntEnum("LayerInformationFormat", ["ONELINE", "JSON"], start=0),
            "float32": DataType.FLOAT,
            "float16": DataType.HALF,
            "bfloat16": DataType.BF16,
            "int64": DataType.INT64,
            "int32": DataType.INT32,
            "Builder": lambda logger: Builder(self, logger),
            "OnnxParser": lambda network, logger: Parser(self, network, logger),
            "Runtime": lambda logger: Runtime(self, logger),
        }
        for name, value in names.items():
            setattr(found, name, value)
        return found

    def fails(self, call: str) -> bool:
        return call in self.faults.calls


class Builder:
    def __init__(self, standin: Standin, logger: Any) -> None:
        self.standin, self.logger = standin, _initialised(logger, ILogger)

    def create_network(self, flags: int = 0) -> Network:
        new = int(self.standin.version.split(".")[0]) >= 11
        return Network(strongly_typed=new or bool(flags & 2))

    def create_builder_config(self) -> Config:
        return Config(self.standin)

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> memoryview | None:
        if self.standin.fails("build_serialized_network"):
            self.logger.log(Severity.WARNING, "some tactics were skipped")
            self.logger.log(Severity.ERROR, "Error Code 10: no implementation for node {ForeignNode[MatMul]}")
            return None
        for number, profile in enumerate(config.profiles):
            for tensor in network.inputs:
                if -1 in tensor.shape and not profile._fits(tensor):
                    self.logger.log(Severity.ERROR, f"profile {number}: dynamic input {tensor.name} has no range")
                    return None
        if not config.profiles and any(-1 in tensor.shape for tensor in network.inputs):
            self.logger.log(Severity.ERROR, "Network has dynamic inputs, but no optimization profile has been defined")
            return None
        if not self._report(config.progress_monitor):
            self.logger.log(Severity.ERROR, "Build was cancelled")
            return None
        plan = {
            "version": self.standin.version,
            "gpu": self.standin.gpu.name,
            "onnx": base64.b64encode(network.content).decode(),
            "folder": str(network.path.parent),
            "strongly_typed": network.strongly_typed,
            "profiles": [profile.shapes for profile in config.profiles],
            "cleared": [flag.name for flag in config.cleared],
            "workspace": config.pools,
            "verbosity": config.profiling_verbosity.name,
            "level": config.builder_optimization_level,
        }
        self.standin.built.append(plan)
        return memoryview(json.dumps(plan).encode())

    def _report(self, monitor: Any) -> bool:
        """Phases nest: the second one runs inside the first step of the first one."""
        _initialised(monitor, IProgressMonitor)
        (outer, parent, steps), (inner, inner_parent, inner_steps) = self.standin.faults.phases
        _swallowed(monitor.phase_start, outer, parent, steps)
        _swallowed(monitor.phase_start, inner, inner_parent, inner_steps)
        for step in range(inner_steps):
            if not _swallowed(monitor.step_complete, inner, step):
                return False
        _swallowed(monitor.phase_finish, inner)
        for step in range(steps):
            if not _swallowed(monitor.step_complete, outer, step):
                return False
        _swallowed(monitor.phase_finish, outer)
        return True


def _swallowed(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except Exception:
        return False


@dataclass
class Tensor:
    name: str
    shape: tuple[int, ...]
    kind: DataType


@dataclass
class Network:
    strongly_typed: bool
    inputs: list[Tensor] = field(default_factory=list)
    path: Path = Path()
    content: bytes = b""

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> Tensor:
        return self.inputs[index]


def tensors(values: Any) -> list[Tensor]:
    """Inputs or outputs of an ONNX graph, free axes as -1."""
    return [
        Tensor(
            value.name,
            tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim),
            _ONNX_TYPES[value.type.tensor_type.elem_type],
        )
        for value in values
    ]


@dataclass
class ParserError:
    index: int
    name: str
    operator: str
    text: str

    def node(self) -> int:
        return self.index

    def node_name(self) -> str:
        return self.name

    def node_operator(self) -> str:
        return self.operator

    def desc(self) -> str:
        return self.text


class Parser:
    """Refuses what is no ONNX, and operators without a converter."""

    UNSUPPORTED = ("RandomNormalLike", "StringSplit")

    def __init__(self, standin: Standin, network: Network, logger: Any) -> None:
        self.network, self.errors = network, []
        _initialised(logger, ILogger)

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, index: int) -> ParserError:
        return self.errors[index]

    def parse(self, model: bytes, path: str | None = None) -> bool:
        if not isinstance(model, bytes) or not isinstance(path, str):
            raise TypeError("parse(): incompatible function arguments")
        self.network.content = model
        try:
            loaded = onnx.load_from_string(model)
        except Exception as error:
            self.errors.append(ParserError(-1, "", "", f"Failed to parse the ONNX model: {error}"))
            return False
        self.network.inputs, self.network.path = tensors(loaded.graph.input), Path(path)
        octets = {tensor.name for tensor in self.network.inputs if tensor.kind == DataType.UINT8}
        for number, node in enumerate(loaded.graph.node):
            text = "No converter registered for op type" if node.op_type in self.UNSUPPORTED else ""
            if octets & {*node.input} and node.op_type != "Cast":
                text = "UINT8 is only supported as network input or output"
            if text:
                self.errors.append(ParserError(number, node.name, node.op_type, text))
        return not self.errors


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
            raise RuntimeError("Shape provided for max is inconsistent with other shapes.")
        self.shapes[input] = [list(min), list(opt), list(max)]

    def _fits(self, tensor: Tensor) -> bool:
        ranges = self.shapes.get(tensor.name, [])
        return len(ranges) == 3 and all(
            len(shape) == len(tensor.shape)
            and all(fixed in (-1, given) for fixed, given in zip(tensor.shape, shape, strict=True))
            for shape in ranges
        )


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> memoryview:
        return memoryview(b"timings of " + self.content[-20:])


class Config:
    def __init__(self, standin: Standin) -> None:
        self.standin = standin
        self.pools: dict[str, int] = {}
        self.cleared: list[Any] = []
        self.profiles: list[Profile] = []
        self.timings: TimingCache | None = None
        self.builder_optimization_level = 3
        self.profiling_verbosity: Any = None
        self.progress_monitor: Any = None

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self.pools[pool.name] = pool_size

    def clear_flag(self, flag: Any) -> None:
        self.cleared.append(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        if self.standin.fails("add_optimization_profile"):
            return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
        self.standin.cache_seen.append(serialized_timing_cache)
        return TimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        if cache.content.startswith(b"other"):
            return False
        self.timings = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self.timings


class Runtime:
    def __init__(self, standin: Standin, logger: Any) -> None:
        self.standin, self.logger = standin, _initialised(logger, ILogger)

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        try:
            plan = json.loads(bytes(content))
        except ValueError:
            self.logger.log(Severity.ERROR, "Error Code 1: Serialization (magic tag does not match)")
            return None
        if plan["version"] != self.standin.version or plan["gpu"] != self.standin.gpu.name:
            self.logger.log(Severity.ERROR, "Error Code 6: The engine plan file is not compatible with this version")
            return None
        return Engine(self.standin, plan, self.logger)


class Engine:
    def __init__(self, standin: Standin, plan: dict[str, Any], logger: Any) -> None:
        self.standin, self.plan, self.logger = standin, plan, logger
        content = base64.b64decode(plan["onnx"])
        model = onnx.load_from_string(content)
        self.inputs, self.outputs = tensors(model.graph.input), tensors(model.graph.output)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        # its later optimisations crash the process on graphs in f16
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", plan["folder"])
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def _tensor(self, name: str) -> Tensor:
        return next(tensor for tensor in self.inputs + self.outputs if tensor.name == name)

    @property
    def num_io_tensors(self) -> int:
        return len(self.inputs + self.outputs)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.plan["profiles"])

    def get_tensor_name(self, index: int) -> str:
        return (self.inputs + self.outputs)[index].name

    def get_tensor_mode(self, name: str) -> int:
        return 1 if any(tensor.name == name for tensor in self.inputs) else 2

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._tensor(name).kind

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensor(name).shape

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self.plan["profiles"][profile_index][name]]

    def is_shape_inference_io(self, name: str) -> bool:
        return name == self.standin.faults.host_input

    def create_engine_inspector(self) -> Inspector:
        return Inspector(self)

    def create_execution_context(self, strategy: int) -> Context | None:
        if self.standin.fails("create_execution_context"):
            self.logger.log(Severity.ERROR, "Error Code 2: OutOfMemory (requested size was 1073741824 bytes)")
            return None
        return Context(self)


class Inspector:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def get_engine_information(self, format: int) -> str:
        """Layers as in NVIDIA/TensorRT issue 4397; those of other profiles have the number in their names."""
        assert format == 1
        model = onnx.load_from_string(base64.b64decode(self.engine.plan["onnx"]))
        fused = {node.output[0] for node in model.graph.node if node.op_type in ("Attention", "Softmax")}
        tactics = {True: "_gemm_mha_v2_0x957a2fe283f77dcf35c142c1390a3e6a", False: "__myl_AddMul_0x1f"}
        layers = [
            {
                "Name": f"{node.name}_myl0_{number}" + (f" [profile {profile}]" if profile else ""),
                "LayerType": "kgen",
                "TacticName": tactics[self.engine.standin.faults.fused and node.output[0] in fused],
            }
            for profile in range(self.engine.num_optimization_profiles)
            for number, node in enumerate(model.graph.node)
        ]
        return json.dumps({"Layers": layers, "Bindings": []})


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.standin = engine, engine.standin
        self.profile = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.settled = False  # ran once, uncaptured, since a shape was set
        self.number = sum(call[0] == "context" for call in self.standin.trace)
        self.standin.trace.append(("context", self.number))

    def _note(self, call: str, *details: Any) -> None:
        self.standin.trace.append((call, self.number, *details))

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._note("set_optimization_profile_async", profile_index)
        if self.standin.fails("set_optimization_profile_async") or profile_index >= len(self.engine.plan["profiles"]):
            raise RuntimeError("Error in set optimization profile async.")
        self.profile, self.shapes, self.settled = profile_index, {}, False
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._note("set_input_shape", name, tuple(shape))
        ranges = self.engine.plan["profiles"][self.profile].get(name)
        if self.standin.fails("set_input_shape") or ranges is None or len(ranges[0]) != len(shape):
            return False
        if not all(low <= size <= high for low, size, high in zip(ranges[0], shape, ranges[2], strict=True)):
            self.engine.logger.log(Severity.ERROR, "Error Code 3: Runtime dimension does not satisfy any profile")
            return False
        self.shapes[name], self.settled = tuple(shape), False
        return True

    def infer_shapes(self) -> list[str]:
        self._note("infer_shapes")
        return self._missing()

    def _missing(self) -> list[str]:
        return [tensor.name for tensor in self.engine.inputs if -1 in tensor.shape and tensor.name not in self.shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape = self.engine.get_tensor_shape(name)
        if name in self.shapes or -1 not in shape or "slot" not in self.shapes:
            return self.shapes.get(name, shape)
        return tuple(self.shapes["slot"][0] if size == -1 else size for size in shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._note("set_tensor_address", name, memory)
        if self.standin.fails("set_tensor_address") or memory == 0:
            return False
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        self._note("execute_async_v3", stream_handle)
        gpu = self.standin.gpu
        every = [tensor.name for tensor in self.engine.inputs + self.engine.outputs]
        if self.standin.fails("execute_async_v3") or self._missing() or set(every) - set(self.addresses):
            self.engine.logger.log(Severity.ERROR, "Error Code 1: Cuda Runtime (out of memory)")
            return False
        if gpu.recording is not None and not self.settled:
            return False
        self.settled = True
        gpu.put(self._compute)
        return True

    def _view(self, tensor: Tensor) -> np.ndarray:
        """The memory at a tensor's address: a buffer that nobody holds any longer would show."""
        shape, kind = self.get_tensor_shape(tensor.name), np.dtype(_NUMPY[tensor.kind])
        size = int(np.prod(shape)) * kind.itemsize
        raw = (ctypes.c_char * size).from_address(self.addresses[tensor.name])
        return np.frombuffer(raw, kind).reshape(shape)

    def _compute(self) -> None:
        feeds = {tensor.name: self._view(tensor) for tensor in self.engine.inputs}
        outputs = self.engine.session.run([tensor.name for tensor in self.engine.outputs], feeds)
        rows = self.shapes["slot"][0]
        faults = self.standin.faults
        wrong = faults.logits if faults.logits_rows in (None, rows) else 0.0
        for tensor, values in zip(self.engine.outputs, outputs, strict=True):
            self._view(tensor)[...] = values + np.asarray(wrong, values.dtype)
