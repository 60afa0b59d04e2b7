"""Which runtime carries an artifact out, and in which precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rate.backends.base import BackendSpec
from rate.backends.onnxruntime import OrtSpec
from rate.backends.openvino import OpenVinoSpec, cpu_has_bf16
from rate.config import Execution
from rate.errors import BackendError, ParityError, UsageError
from rate.export.artifact import Artifact
from rate.export.parity import check_parity
from rate.export.plans import PRECISIONS, plan_spec, planned


def spec_for(
    artifact: Artifact, execution: Execution, notify: Callable[[str], None] = lambda _: None, form: str = "pixels"
) -> BackendSpec:
    """The first backend that is installed and passes the self-test on the artifact's parity sample.

    ``auto`` tries the artifact's TensorRT plans where it has some, then OpenVINO in int8 where the artifact holds such
    a graph, in bf16 where the CPU computes in it, in f32, then ONNX Runtime in f32. A backend or precision that was
    asked for by name is used or refused, never replaced.

    Args:
        artifact: whose graph is to run.
        execution: ``backend`` and ``precision``, each a name or ``auto``.
        notify: told why a candidate was passed over.
        form: of the graph; see `Measurement.form`.

    Raises:
        UsageError: no runtime is installed, the one asked for cannot do the precision asked for, or the artifact has
            no graph of that form.
        ParityError: the backend asked for does not reproduce the source's logits.
        BackendError: the backend asked for cannot load the graph.
    """
    choices = preferences(execution, f"{form}-int8" in artifact.graphs, planned(artifact) if form == "pixels" else ())
    if not choices:
        raise UsageError(
            f"--backend {execution.backend} does not compute in --precision {execution.precision}; leave one out"
        )
    artifact.graph(form)  # refused before anything is tried
    for choice in choices:
        last = choice == choices[-1]
        try:
            spec = _spec(artifact, form, choice, execution)
            check_parity(artifact, spec, quick=True, form=form)
        except (UsageError, ParityError, BackendError) as error:
            if last:
                raise
            notify(f"passed over: {str(error).partition(';')[0]}")
        else:
            return spec
    raise AssertionError("the last candidate is returned or raises")


def preferences(execution: Execution, int8: bool = False, plans: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(backend, precision) in the order in which they are tried; none where the two asked for exclude each other.

    Args:
        execution: ``backend`` and ``precision``, each a name or ``auto``.
        int8: whether the artifact holds an int8 graph.
        plans: precisions of the artifact's TensorRT plans.
    """
    wanted = execution.precision
    found: list[tuple[str, str]] = []
    if execution.backend in ("auto", "tensorrt"):
        found += [("tensorrt", precision) for precision in plans if wanted in ("auto", precision)]
        if execution.backend == "tensorrt" and not found and wanted in ("auto", *PRECISIONS):
            # No plan: the message then says so.
            found.append(("tensorrt", "f32" if wanted == "auto" else wanted))
    if execution.backend in ("auto", "openvino"):
        # Named, a precision is tried even where the CPU or the artifact lacks it: the message then says so.
        if wanted == "int8" or (wanted == "auto" and int8):
            found.append(("openvino", "int8"))
        if wanted == "bf16" or (wanted == "auto" and cpu_has_bf16()):
            found.append(("openvino", "bf16"))
        if wanted in ("auto", "f32"):
            found.append(("openvino", "f32"))
    if execution.backend in ("auto", "onnxruntime") and wanted in ("auto", "f32"):
        found.append(("onnxruntime", "f32"))
    return found


def _spec(artifact: Artifact, form: str, choice: tuple[str, str], execution: Execution) -> BackendSpec:
    backend, precision = choice
    if backend == "tensorrt":
        if form != "pixels":
            raise UsageError(f"no TensorRT plan is built of {form} graphs; use another --backend, or --saliency rise")
        return plan_spec(artifact, precision, execution.batch)
    graph = artifact.graph(form, "int8" if precision == "int8" else "f32")
    if backend == "openvino":
        return OpenVinoSpec(graph, precision, execution.threads)
    return OrtSpec(graph, execution.threads)
