"""`--format tensorrt`: the build of a TensorRT plan from an artifact's graph: parse, build, prove, describe.

The network is strongly typed: the precision is that of the graph, as in TensorRT 11 and optionally in 10.12. TF32 is
off, also for the f32 operations of a half graph, since the fold assumes exact masks.

Every profile fixes the rows of a batch, so that the tower is tuned for one shape; the backend pads to it. Images, table
and grid may vary: only a gather and two small products use them, and one plan then serves every grid, occlusion and any
number of slots.

The module is tested against the stand-in of tests/standin_tensorrt.py, which parses with onnx and returns what NVIDIA's
documents and Python bindings state. The library itself has not built a plan yet.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rate.artifacts.artifact import ARTIFACT, Artifact
from rate.artifacts.folders import digest_file
from rate.artifacts.parity import judge
from rate.artifacts.parity_sample import load_sample
from rate.artifacts.plans import (
    Plan,
    facts_of,
    key_of,
    machine_facts,
    plan_graph,
    plan_path,
    read_plan,
    state_folder,
    write_plan,
)
from rate.artifacts.records import Made, Parity
from rate.backends.base import Graph
from rate.backends.tensorrt import TensorRtSpec
from rate.backends.tensorrt_library import load_tensorrt, open_gpu, open_log
from rate.errors import ArtifactError, BackendError, ParityError, StorageError, UsageError
from rate.export.graph.onnx_walk import with_float_inputs
from rate.export.options import ExportOptions
from rate.export.plan_layers import fused_attentions
from rate.export.precision.attention import forms_of
from rate.files import remove_leftovers, try_writing, write_atomically
from rate.types import Json
from rate.version import __version__

Notify = Callable[[str], None]

ObserveBuild = Callable[[float, str], None]
"""Receives the share of the build that is done, from 0 to 1 and never falling, and the current step."""

WORKSPACE = 4 << 30
"""Bytes of device memory that a kernel may use beside its inputs and outputs."""

LEVEL = 3
"""TensorRT's builder optimization level, 0 to 5; its own default."""

_FLAGS: Json = {"strongly_typed": True, "tf32": False, "level": LEVEL, "workspace": WORKSPACE}
_VOLUME = 2**31 - 1  # largest number of elements of a tensor
_IMAGES, _SIDE = 1024, 64  # largest number of image slots, and largest grid side
_USUAL_IMAGES, _USUAL_SIDE = 8, 7  # sizes for which the kernels are chosen

_ELSEWHERE = (
    "use --format onnx and another --backend, or report the model; for TensorRT before 10.14, which "
    "has no operation for attention, export with --attention half"
)


def planned_artifact(source: object, out: Path | None, options: ExportOptions) -> Path | None:
    """Return SOURCE if it is an artifact into which ``options`` build a plan; None if an artifact is to be written.

    Raises:
        UsageError: a plan is asked for, and TensorRT or a GPU is missing; or ``out`` does not fit ``source``.
    """
    if options.format != "tensorrt":
        return None
    into = Path(source) if isinstance(source, str) and (Path(source) / ARTIFACT).is_file() else None
    if into is not None and out is not None:
        raise UsageError(f"{into} is an artifact, and its plan is built into it; leave --out {out} out")
    open_gpu()
    load_tensorrt()
    return into


def build_plan(
    artifact: Artifact,
    precision: str,
    batch_sizes: Sequence[int],
    notify: Notify = lambda _: None,
    observe: ObserveBuild = lambda share, phase: None,
    force: bool = False,
) -> Plan:
    """Build, prove and describe the plan of a graph of ``artifact``; an existing valid plan is kept.

    Args:
        artifact: complete and verified.
        precision: the precision of the graph: f32, fp16 or bf16.
        batch_sizes: the batch sizes, each with its own profile.
        notify: receives the steps, one sentence each.
        observe: receives the progress of the build, which takes minutes.
        force: whether to replace an existing plan.

    Raises:
        UsageError: TensorRT or torch is not installed, or the artifact has no such graph.
        BackendError: there is no GPU, or the library fails.
        ParityError: the plan does not compute what the source computes; nothing is kept.
    """
    graph = plan_graph(artifact, precision)
    gpu = open_gpu()  # torch must be imported first; see `load_tensorrt`
    library = load_tensorrt()
    machine = machine_facts(gpu, library)
    sizes = tuple(sorted(set(batch_sizes)))
    profiles = profiles_for(graph.size, sizes)
    facts = facts_of(machine, artifact, graph, profiles, _FLAGS)
    path = plan_path(artifact.path, facts)
    if not force and (kept := _kept(path)) is not None:
        notify(f"{path} is there already")
        return kept
    cache = state_folder() / f"timings-{key_of(dict(machine))[:16]}.cache"
    _make_folder(path.parent)
    notify(f"building a TensorRT {machine['tensorrt']} plan in {precision} for {machine['gpu']}; this takes minutes")
    began = time.monotonic()
    content = serialize(library, graph.path, profiles, cache, observe)
    made = Made(__version__, round(time.monotonic() - began, 1), len(content))
    spec = TensorRtSpec(graph, path, hashlib.sha256(content).hexdigest(), sizes)
    capture, parity = _check_plan(artifact, spec, content, notify)
    attentions = _fused(library, graph, content, notify)
    plan = Plan(
        path=path,
        key=key_of(facts),
        facts=facts,
        batch_sizes=sizes,
        sha256=spec.sha256,
        capture=capture,
        parity=parity,
        attentions=attentions,
        made=made,
    )
    write_plan(plan)
    notify(f"{path}: {len(content):,} bytes")
    return plan


def profiles_for(size: int, batch_sizes: Sequence[int]) -> list[dict[str, list[list[int]]]]:
    """Map each input name to its least, usual and greatest shape for every batch size; fully static inputs are left
    out.

    ``size``: side of the square image, pixels.
    """
    from rate.export.graph.perturbed import dims

    images = min(_IMAGES, _VOLUME // (3 * size * size))
    side = min(_USUAL_SIDE, size)
    profiles = []
    for rows in batch_sizes:
        ranges = {
            "I": (1, min(_USUAL_IMAGES, images), images),
            "B": (rows, rows, rows),
            "s": (2, side, min(_SIDE, size)),
            "T": (1, -(-size // side), -(-size // 2)),  # a RISE mask has as many offsets as a cell has pixels
        }
        profiles.append(
            {
                name: [[ranges[axis][k] if isinstance(axis, str) else axis for axis in axes] for k in range(3)]
                for name, axes in dims(size).items()
                if any(isinstance(axis, str) for axis in axes)
            }
        )
    return profiles


def serialize(
    library: Any, onnx: Path, profiles: Sequence[Mapping[str, list[list[int]]]], cache: Path, observe: ObserveBuild
) -> bytes:
    """Build the plan of an ONNX graph and return its bytes.

    Args:
        library: the module tensorrt.
        onnx: the graph, with its external weights beside it.
        profiles: see `profiles_for`.
        cache: timings of earlier builds on this machine, read and written. They outlive artifacts, since fine-tuned
            models share the layers of their tower.
        observe: receives the progress; an exception that it raises ends the build and is raised here.

    Raises:
        BackendError: the library cannot parse the graph or build the plan.
    """
    log = open_log(library)
    builder = library.Builder(log)
    # required by 10.x; 11 accepts it and has no other mode
    network = builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.OnnxParser(network, log)
    if not parser.parse(with_float_inputs(onnx), str(onnx)):
        raise BackendError(f"TensorRT cannot parse {onnx}: {_parser_errors(parser, log)}; {_ELSEWHERE}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.clear_flag(library.BuilderFlag.TF32)
    config.builder_optimization_level = LEVEL
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED
    for shapes in profiles:
        _add_profile(builder, config, network, shapes)
    # A cache of another version is ignored.
    for content in (cache.read_bytes() if cache.is_file() else b"", b""):
        if config.set_timing_cache(config.create_timing_cache(content), False):
            break
    monitor = types.new_class("Monitor", (BuildProgress, library.IProgressMonitor))(observe)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor.failure is not None:
        raise monitor.failure
    if plan is None:
        raise BackendError(f"TensorRT cannot build a plan of {onnx}: {log.take()}; {_ELSEWHERE}")
    if (timings := config.get_timing_cache()) is not None:
        with contextlib.suppress(StorageError):  # without the timings the next build is slower but correct
            write_atomically(cache, lambda file: file.write(timings.serialize()))
    return bytes(plan)


def _parser_errors(parser: Any, log: Any) -> str:
    errors = []
    for error in (parser.get_error(index) for index in range(parser.num_errors)):
        node = f"node {error.node()} {error.node_name()!r} ({error.node_operator()}): " if error.node() >= 0 else ""
        errors.append(f"{node}{error.desc()}")
    return "; ".join(errors) or str(log.take())


def _add_profile(builder: Any, config: Any, network: Any, shapes: Mapping[str, list[list[int]]]) -> None:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if -1 not in tuple(tensor.shape):
            continue
        if tensor.name not in shapes:
            raise BackendError(
                f"the graph has the input {tensor.name!r} with the shape {tuple(tensor.shape)}, which nothing fills; "
                "export the artifact again"
            )
        try:
            profile.set_shape(tensor.name, *(tuple(shape) for shape in shapes[tensor.name]))
        except RuntimeError as error:
            raise BackendError(
                f"TensorRT refuses the shapes {shapes[tensor.name]} of {tensor.name}: {error}; use another --plan-batch"
            ) from error
    if config.add_optimization_profile(profile) < 0:
        raise BackendError(f"TensorRT refuses a profile of the shapes {dict(shapes)}; use another --plan-batch")


class BuildProgress:
    """The progress of the build's outermost phase. An exception of the observer, Ctrl-C included, ends the build.

    The library swallows exceptions of these methods, so the caller of the build raises ``failure`` afterwards. The
    library calls them from several threads.
    """

    def __init__(self, observe: ObserveBuild) -> None:
        super().__init__()  # initialises the library's base class, which the mixin order would skip
        self.failure: BaseException | None = None
        self._observe = observe
        self._outer: tuple[str, int] | None = None  # the first phase and its number of steps
        self._done = 0

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Start a phase; the library calls this method."""
        if self._outer is None:
            self._outer = (phase_name, max(num_steps, 1))
        self._tell(phase_name)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Finish a step counted from 0; the library calls this method, and False ends the build."""
        if self._outer is not None and phase_name == self._outer[0]:
            self._done = step + 1
        self._tell(phase_name)
        return self.failure is None

    def phase_finish(self, phase_name: str) -> None:
        """Finish a phase; the library calls this method."""

    def _tell(self, phase: str) -> None:
        if self.failure is None and self._outer is not None:
            try:
                self._observe(self._done / self._outer[1], phase)
            except BaseException as error:
                self.failure = error


def _fused(library: Any, graph: Graph, content: bytes, notify: Notify) -> int | None:
    """Count the fused attentions of a plan, and tell if they are fewer than those of its graph."""
    fused, held = fused_attentions(library, open_log(library), content), forms_of(graph.path).total
    if fused is not None and fused < held:
        notify(
            f"TensorRT fused {fused} of {held} attentions, the others are slower; try another --attention, "
            + ("--precision fp16, " if graph.precision == "f32" else "")
            + "or a newer TensorRT"
        )
    return fused


def _make_folder(folder: Path) -> None:
    """Make the folder before the build, so that an unwritable folder is reported early."""
    try:
        folder.mkdir(exist_ok=True)
        remove_leftovers(folder)
        try_writing(folder / "plan")
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made ({error.strerror}); copy the artifact to a place of yours"
        ) from error


def _kept(path: Path) -> Plan | None:
    """Return the plan at ``path`` if it exists, is described by this user and is unchanged."""
    try:
        plan = read_plan(path.with_suffix(".json"))
    except ArtifactError:
        return None
    return plan if path.is_file() and digest_file(path) == plan.sha256 else None


def _check_plan(
    artifact: Artifact, spec: TensorRtSpec, content: bytes, notify: Notify
) -> tuple[bool, dict[str, Parity]]:
    """Write the plan and run it; return whether it can be captured, and the distance of its logits for every batch
    size.
    """
    spec.plan.with_suffix(".json").unlink(missing_ok=True)
    write_atomically(spec.plan, lambda file: file.write(content))
    notify("comparing the plan's logits with the source model's")
    try:
        try:
            return True, _judged(artifact, spec)
        except BackendError as error:
            notify(f"without CUDA graphs: {error}")
        return False, _judged(artifact, replace(spec, capture=False))
    except BaseException:
        spec.plan.unlink()
        raise


def _judged(artifact: Artifact, spec: TensorRtSpec) -> dict[str, Parity]:
    """Map each batch size to the distance of the logits, since each profile has its own kernels."""
    sample = load_sample(artifact, "pixels", spec.precision)
    distances: dict[str, Parity] = {}
    for size in spec.batch_sizes:
        try:
            distances[str(size)] = judge(sample, replace(spec, batch_sizes=(size,)))
        except ParityError as error:
            raise ParityError(
                f"the plan for batches of {size} rows is not kept: {str(error).partition('; use another')[0]}; fused "
                "attention is known to go wrong silently on some GPUs: use another --precision, another version of "
                "TensorRT, or --format onnx"
            ) from error
    return distances
