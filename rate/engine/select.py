"""Which runtime carries an artifact out, and in which precision."""

from __future__ import annotations

from collections.abc import Callable

from rate.backends.base import BackendSpec, Graph
from rate.backends.onnxruntime import OrtSpec
from rate.backends.openvino import OpenVinoSpec, cpu_has_bf16
from rate.config import Execution
from rate.errors import BackendError, MissingExtra, ParityError, UsageError
from rate.export.artifact import Artifact
from rate.export.parity import check_parity


def spec_for(
    artifact: Artifact, execution: Execution, notify: Callable[[str], None] = lambda _: None, form: str = "pixels"
) -> BackendSpec:
    """The first backend that is installed and passes the self-test on the artifact's parity sample.

    ``auto`` tries OpenVINO in int8 where the artifact holds such a graph, in bf16 where the CPU computes in it, in f32,
    then ONNX Runtime in f32. A backend or precision that was asked for by name is used or refused, never replaced.

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
    choices = preferences(execution, f"{form}-int8" in artifact.graphs)
    if not choices:
        raise UsageError(
            f"--backend {execution.backend} does not compute in --precision {execution.precision}; leave one out"
        )
    graphs = [artifact.graph(form, "int8" if precision == "int8" else "f32") for _, precision in choices]
    candidates = [_spec(graph, *choice, execution.threads) for graph, choice in zip(graphs, choices, strict=True)]
    for last, spec in ((spec is candidates[-1], spec) for spec in candidates):
        try:
            check_parity(artifact, spec, quick=True, form=form)
        except (MissingExtra, ParityError, BackendError) as error:
            if last:
                raise
            notify(f"passed over: {str(error).partition(';')[0]}")
        else:
            return spec
    raise AssertionError("the last candidate is returned or raises")


def preferences(execution: Execution, int8: bool = False) -> list[tuple[str, str]]:
    """(backend, precision) in the order in which they are tried; none where the two asked for exclude each other.

    ``int8``: whether the artifact holds an int8 graph.
    """
    wanted, found = execution.precision, []
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


def _spec(graph: Graph, backend: str, precision: str, threads: int) -> BackendSpec:
    if backend == "openvino":
        return OpenVinoSpec(graph, precision, threads)
    return OrtSpec(graph, threads)
