"""The choice of runtime, device and precision for an artifact."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec

from rate.artifacts.artifact import Artifact
from rate.artifacts.parity import self_test
from rate.artifacts.parity_sample import load_sample
from rate.artifacts.plans import PRECISIONS, plan_spec, planned
from rate.backends import ort_cuda
from rate.backends.base import Backend, BackendSpec
from rate.backends.onnxruntime import OrtSpec
from rate.backends.openvino import OpenVinoSpec, cpu_has_bf16
from rate.backends.ort_cuda import OrtCudaSpec
from rate.backends.process import check_one_gpu, cuda_visible
from rate.backends.tensorrt import TensorRtSpec
from rate.errors import BackendError, ParityError, RateError, UsageError, check_installed
from rate.execution import ON_CUDA, Execution
from rate.export.generative import spec_of_answers
from rate.export.sources.source_string import has_torch
from rate.export.sources.torch_backend import spec_of_artifact

TORCH = "torch"
"""The entry of `offers` for a PyTorch model behind the artifact."""

PLAN = "tensorrt-"
"""The prefix of the entries of `offers` for TensorRT plans that fit this machine; a precision follows."""

FASTER = "faster-"
"""The prefix of the entries of `offers` for precisions that were faster than int8 where the artifact was exported."""

Say = Callable[[str], None]
"""Receives notices for the user, one sentence each."""


@contextmanager
def open_backend(
    artifact: Artifact, execution: Execution, form: str = "pixels", say: Say = lambda _: None
) -> Iterator[Backend]:
    """Open the first backend that is installed and passes the self-test on the artifact's parity sample.

    It is bound to the masks of that sample: `Backend.bind` gives it those of a job.

    If a GPU is visible, ``auto`` tries halves first, which a GPU computes several times faster than f32: the artifact's
    TensorRT plans, ONNX Runtime where the artifact holds a half graph, PyTorch; then the same in f32. On the CPU follow
    OpenVINO in int8 if the artifact holds such a graph, in bf16 if the CPU computes in it, in f32; ONNX Runtime in f32;
    PyTorch. What was faster than int8 at the export comes before it; timed here, the workers of a run could choose
    differently, and a run and its resumption. A named backend, device or precision is used or refused, never replaced.

    Args:
        artifact: the artifact whose graph runs.
        execution: ``backend`` and ``precision``, each a name or ``auto``, and ``device``; see `on_one_gpu`.
        form: the form of the graph; see `Measurement.form`.
        say: receives the reason for every skipped candidate, and what keeps the chosen one slow.

    Raises:
        UsageError: no runtime is installed, the named one lacks the named precision, a GPU is requested and there is
            none, or the artifact has no graph of that form.
        ParityError: the named backend does not reproduce the source's logits.
        BackendError: the named backend cannot load the graph, or would run on another device.
    """
    choices = preferences(execution, offers(artifact, form))
    if not choices:
        raise UsageError(
            f"--backend {execution.backend} does not compute in --precision {execution.precision}{_where(execution)}; "
            + ("fp16 is for a GPU, see --device" if execution.precision == "fp16" else "leave one out")
        )
    if artifact.asks:
        check_installed(f"the generative model of {artifact.path}", {"torch": "hf", "transformers": "hf"})
        choices = [choice for choice in choices if choice[0].startswith(TORCH)] if form == "pixels" else []
    if not artifact.asks or not choices:
        artifact.graph(form)  # refuses a missing form before any candidate is tried
    execution = on_one_gpu(execution, say)
    check_one_gpu(execution.device)
    with ExitStack() as stack:
        yield _first(artifact, form, choices, execution, stack, say)


def on_one_gpu(execution: Execution, say: Say = lambda _: None) -> Execution:
    """Return the settings with the first GPU of several, and say so; a process computes on one."""
    if len(execution.gpus) > 1:
        say(f"of --device {execution.device}, one process uses cuda:{execution.gpus[0]}")
        return execution.in_one_process
    return execution


def _first(
    artifact: Artifact, form: str, choices: list[tuple[str, str]], execution: Execution, stack: ExitStack, say: Say
) -> Backend:
    """Return the first of ``choices`` that opens and passes; ``stack`` closes it."""
    for choice in choices:
        with ExitStack() as own:
            try:
                spec = _spec(artifact, form, *choice, execution)
                sample = load_sample(artifact, form, spec.precision)
                backend = own.enter_context(spec.open(sample.perturbation, len(sample.pictures)))
                self_test(sample, backend)
            except (UsageError, ParityError, BackendError) as error:
                if choice == choices[-1]:
                    raise _without_gpu(error, execution) from error
                say(f"passed over: {str(error).partition(';')[0]}")
            else:
                stack.push(own.pop_all())
                if not artifact.asks:
                    _tell(spec, choices, execution, say)
                return backend
    raise AssertionError("the last candidate is returned or raises")


def _tell(spec: BackendSpec, choices: list[tuple[str, str]], execution: Execution, say: Say) -> None:
    """Say what keeps the chosen one of ``choices`` below what the GPU can do."""
    rows = execution.batch_on(spec.name)
    if isinstance(spec, TensorRtSpec) and rows > (most := spec.batch_sizes[-1]):
        say(
            f"a batch of {rows} rows is queued as {-(-rows // most)} of the plan's {most}; "
            f"`--format tensorrt --plan-batch {rows}` builds a plan for it"
        )
    in_halves = {precision for backend, precision in choices if backend in ON_CUDA and backend != "torch-cuda"} - {
        "f32"
    }
    if spec.name in ON_CUDA and spec.precision == "f32" and execution.precision == "auto" and not in_halves:
        say(
            "the GPU computes in f32, in which it is slower than in halves; `rate export --precision fp16` adds a graph"
        )


def _without_gpu(error: RateError, execution: Execution) -> RateError:
    """Convert an error of the last candidate to a usage error if a GPU was requested and none is visible."""
    by_device = execution.device.startswith("cuda")
    if isinstance(error, UsageError) or not (by_device or execution.runtime in ON_CUDA) or cuda_visible():
        return error
    asked = f"--device {execution.device}" if by_device else f"--backend {execution.backend}"
    return UsageError(
        f"{asked} was asked for and no GPU is visible here ({error}); use "
        f"{'--device cpu' if by_device else 'another --backend'}, or see `rate doctor`"
    )


def for_reference(artifact: Artifact, execution: Execution) -> Execution:
    """Return the settings of one process that computes in f32, for comparison: on the GPU of ``execution`` if a runtime
    can use it without a plan, else on the CPU.
    """
    alone = replace(execution.in_one_process, backend="auto", precision="f32")
    if alone.device.startswith("cuda") and not (ort_cuda.ready() or TORCH in offers(artifact)):
        return replace(alone, device="cpu")
    return alone


def offers(artifact: Artifact, form: str = "pixels") -> frozenset[str]:
    """List what an artifact has beside its f32 graph: precisions, `TORCH`, and `PLAN` and `FASTER` with a precision."""
    plans = {PLAN + precision for precision in planned(artifact)} if form == "pixels" else set()
    held = {precision for precision in ("fp16", "bf16", "int8") if f"{form}-{precision}" in artifact.graphs}
    model = form == "pixels" and has_torch(artifact.family) and find_spec("torch") is not None
    speed = {} if artifact.int8 is None else artifact.int8.speed
    faster = {FASTER + precision for precision, pace in speed.items() if pace < 1}
    return frozenset(held | plans | faster | ({TORCH} if model else set()))


def preferences(execution: Execution, offered: Collection[str] = ()) -> list[tuple[str, str]]:
    """List (backend, precision) in the order of the tries; the list is empty if the two named ones exclude each other.

    ``offered``: see `offers`.
    """

    def pairs(backends: list[str]) -> list[tuple[str, str]]:
        return [(one, precision) for one in backends for precision in _precisions(one, execution, offered)]

    on_cuda = sorted(pairs(_on_cuda(execution, offered)), key=lambda pair: pair[1] == "f32")  # keeps the order else
    return [*on_cuda, *pairs(_on_cpu(execution, offered))]


def _on_cuda(execution: Execution, offered: Collection[str]) -> list[str]:
    """List the backends on a GPU, in order; if no GPU is visible, nothing is imported to search for one."""
    if execution.runtime != "auto":
        return [execution.runtime] if execution.runtime in ON_CUDA else []
    if execution.device == "cpu" or (execution.device == "auto" and not cuda_visible()):
        return []
    backends = ["tensorrt"] if any(PLAN + precision in offered for precision in PRECISIONS) else []
    backends += ["onnxruntime-cuda"] if execution.device != "auto" or ort_cuda.ready() else []
    return backends + (["torch-cuda"] if TORCH in offered else [])


def _on_cpu(execution: Execution, offered: Collection[str]) -> list[str]:
    if execution.runtime != "auto":
        return [execution.runtime] if execution.runtime not in ON_CUDA else []
    if execution.device not in ("auto", "cpu"):
        return []
    return ["openvino", "onnxruntime"] + (["torch"] if TORCH in offered else [])


_COMPUTES = {
    "tensorrt": PRECISIONS,
    "onnxruntime-cuda": ("f32", "fp16", "bf16"),
    "torch-cuda": ("f32", "fp16", "bf16"),
    "openvino": ("f32", "bf16", "int8"),
    "onnxruntime": ("f32",),
    "torch": ("f32", "fp16", "bf16"),
}


def _precisions(backend: str, execution: Execution, offered: Collection[str]) -> list[str]:
    wanted = execution.precision
    if wanted == "auto":
        return _usual(backend, offered)
    # A named precision is tried even if the CPU or the artifact lacks it, so that the message says so.
    anyway = backend == execution.runtime or backend in ("openvino", "torch-cuda")
    return [wanted] if wanted in (_COMPUTES[backend] if anyway else _usual(backend, offered)) else []


def _usual(backend: str, offered: Collection[str]) -> list[str]:
    """List the precisions of artifact and machine, the fastest first."""
    precisions: list[str] = []
    if backend == "tensorrt":
        plans = [precision for precision in PRECISIONS if PLAN + precision in offered]
        return plans or ["f32"]  # a named backend without a plan is tried, so that the message says so
    if backend == "onnxruntime-cuda":
        precisions = [precision for precision in ("fp16", "bf16") if precision in offered]
    elif backend == "torch-cuda":
        precisions = ["fp16", "bf16"]
    elif backend == "openvino":
        precisions = ["bf16"] if cpu_has_bf16() else []
    precisions.append("f32")
    if backend == "openvino" and "int8" in offered:
        faster = [place for place, precision in enumerate(precisions, 1) if FASTER + precision in offered]
        precisions.insert(max(faster, default=0), "int8")
    return precisions


def _spec(artifact: Artifact, form: str, backend: str, precision: str, execution: Execution) -> BackendSpec:
    threads, device = execution.threads, "cpu"
    if backend in ON_CUDA:
        device = execution.device if execution.device != "auto" else "cuda:0"
    if backend == "tensorrt":
        if form != "pixels":
            raise UsageError(f"no TensorRT plan is built of {form} graphs; use another --backend, or --saliency rise")
        return plan_spec(artifact, precision, execution.batch_on(backend), device)
    if artifact.asks:
        return spec_of_answers(artifact, precision, device, execution.threads)
    if backend.startswith(TORCH):
        return spec_of_artifact(artifact, precision, device, threads=threads)
    if backend == "onnxruntime-cuda":
        return OrtCudaSpec(artifact.graph(form, precision), device, threads=threads)
    graph = artifact.graph(form, "int8" if precision == "int8" else "f32")
    return OpenVinoSpec(graph, precision, threads) if backend == "openvino" else OrtSpec(graph, threads)


def _where(execution: Execution) -> str:
    """Return the device part of a message, if a device is named or none is visible."""
    unseen = " where no GPU is visible" if execution.runtime == "auto" and not cuda_visible() else ""
    return unseen if execution.device == "auto" else f" on --device {execution.device}"
