"""int8: post-training quantization of the perturbed graph, stored beside the f32 graph, which is its reference."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from msgspec import structs

from rate.artifacts.artifact import INT8, PARITY_INT8, Artifact, write_artifact
from rate.artifacts.folders import digest_files
from rate.artifacts.parity import judge
from rate.artifacts.parity_sample import PICTURES, ParitySample, make_sample, save_sample
from rate.artifacts.records import CalibrationData, Changes, Int8
from rate.backends.base import Backend, Logits
from rate.backends.onnxruntime import OrtSpec
from rate.backends.openvino import OpenVinoSpec, cpu_has_bf16
from rate.data.images.prepare import prepare
from rate.data.manifest import Manifest, read_manifest
from rate.errors import RateError, need
from rate.export.options import ExportOptions
from rate.export.precision.calibration import Feed, Feeds, choose, readable
from rate.types import Float32, Sample

Prove = Callable[[Artifact, tuple[Sample, ...]], Changes]
"""Measures for artifact.json what an int8 graph changes on some samples; raises if the change is too large."""

SMOOTHING = 0.5
"""The exponent by which SmoothQuant moves an activation's outliers into the weights, as its authors chose it.

Masked images spread activations wider than photographs do; with NNCF's 0.95 the logits of a vision transformer are less
accurate.
"""

ROUNDS = 5
"""The number of times that int8 and another precision are timed in turn."""

_NO_TELEMETRY = "NNCF_CI"


def read_calibration(options: ExportOptions) -> Manifest:
    """Read the manifest on which an int8 export calibrates, after a check of all requirements.

    Raises:
        UsageError: a package is missing, or the manifest cannot be used.
    """
    assert options.calibrate is not None, "the options of int8 are checked"
    need("openvino", "cpu")
    _nncf()
    return read_manifest(Path(options.calibrate), split=options.split, reading=options.reading)


def add_int8(
    artifact: Artifact,
    data: Manifest,
    logits: Callable[[Float32], Logits],
    options: ExportOptions,
    prove: Prove,
    say: Callable[[str], None],
) -> Artifact:
    """Quantize the graph of ``artifact``, prove it, and write it into the artifact's folder.

    Args:
        artifact: complete, in f32.
        data: images that resemble the evaluation set.
        logits: the bare source, pixels [b,3,h,w] -> logits [b,c] per head.
        options: the options of the export.
        prove: judges the verdicts; artifact.json keeps its result.
        say: receives how fast it is.

    Raises:
        DataError: no image of ``data`` can be used.
        ParityError: the int8 graph is too far from the source.
        RateError: the graph cannot be quantized.
    """
    folder, geometry = artifact.path, artifact.geometry
    chosen = choose(data.samples, artifact.heads, options.calibration_images, str(options.calibrate))
    learn = readable(chosen.learn, geometry)
    shown = [prepare(sample, geometry) for sample in readable(chosen.check, geometry, PICTURES)]
    sample = make_sample(geometry, logits, [(one.picture, one.region * np.uint8(255)) for one in shown])
    quantize(folder / artifact.graphs["pixels"], folder / INT8, Feeds(learn, geometry))
    graph = replace(artifact.graph(), path=folder / INT8, precision="int8")
    judge(sample, OrtSpec(artifact.graph()))
    parity = judge(sample, OpenVinoSpec(graph, "int8"))
    save_sample(sample, folder, PARITY_INT8)
    names = (INT8, Path(INT8).with_suffix(".bin").name, PARITY_INT8)
    whole = structs.replace(
        artifact,
        precision="int8",
        graphs=artifact.graphs | {"pixels-int8": INT8},
        files=artifact.files | digest_files(folder, names),
        parity=artifact.parity | {"pixels-int8": parity},
        versions=artifact.versions | {name: version(name) for name in ("openvino", "nncf")},
    )
    about = CalibrationData(data.digest(), options.split, len(learn), len(chosen.learn) - len(learn))
    other = OpenVinoSpec(artifact.graph(), "bf16" if cpu_has_bf16() else "f32")
    speed = {other.precision: _speed(sample, OpenVinoSpec(graph, "int8"), other)}
    int8 = Int8(about, prove(whole, chosen.check), chosen.shared, speed)
    say(f"int8 makes {int8.pace} here; `--backend auto` takes the faster one")
    whole = structs.replace(whole, int8=int8)
    write_artifact(whole)
    return whole


def _speed(sample: ParitySample, own: OpenVinoSpec, other: OpenVinoSpec) -> float:
    """Time ``own`` on the rows of ``sample``, in turn with ``other``; return its forwards/s over those of the other."""
    with ExitStack() as stack:
        backends = [stack.enter_context(spec.open(sample.perturbation, len(sample.pictures))) for spec in (own, other)]
        for backend in backends:
            sample.put(backend)

        def seconds(backend: Backend) -> float:
            began = time.perf_counter()
            backend.submit(sample.rows).wait()
            return time.perf_counter() - began

        rounds = [[seconds(backend) for backend in backends] for _ in range(1 + ROUNDS)]
    return round(statistics.median(theirs / ours for ours, theirs in rounds[1:]), 3)  # the first round warms up


def quantize(graph: Path, out: Path, feeds: Feeds | Sequence[Feed]) -> None:
    """Write ``graph`` in int8 to ``out`` (.xml) and its weights to the .bin file, with ranges from ``feeds``.

    Three parts stay in f32, a small part of the arithmetic: the perturbation, as the fold of the scores assumes; the
    heads, whose logits are the result; and the first convolution, whose input has the edges of the mask.

    Raises:
        RateError: NNCF cannot quantize the graph.
    """
    openvino, nncf = need("openvino", "cpu"), _nncf()
    try:
        model = openvino.Core().read_model(str(graph))
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars would mix with a result on stdout
            quantized = nncf.quantize(
                model,
                nncf.Dataset(feeds),
                preset=nncf.QuantizationPreset.MIXED,
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(feeds),
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=SMOOTHING)
                ),
                ignored_scope=nncf.IgnoredScope(names=sorted(unquantized_nodes(model)), validate=False),
            )
        openvino.save_model(quantized, str(out), compress_to_fp16=False)
    except Exception as error:  # both libraries raise arbitrary exceptions
        reason = str(error).strip().rpartition("\n")[2]  # the lines before it are a position in the sources
        raise RateError(
            f"NNCF cannot quantize {graph.name}: {type(error).__name__}: {reason}; use --precision f32"
        ) from error


def unquantized_nodes(model: Any) -> set[str]:
    """Return the names of the operations of an OpenVINO ``model`` that stay in f32; see `quantize`."""
    inputs = {parameter.any_name: parameter.get_node().get_friendly_name() for parameter in model.inputs}
    pixels = inputs["pixels"]
    masks, images, blend = {*inputs.values()} - {pixels}, {pixels}, set[str]()
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        sources = {value.get_node().get_friendly_name() for value in node.input_values()}
        if mixed := sources & images:
            images.add(name)
            # levels become floats, and images meet masks and each other, until the tower takes what they make
            if mixed <= blend | {pixels} and (len(mixed) > 1 or sources & masks or _is(node, "Convert")):
                blend.add(name)
        elif sources & masks:
            masks.add(name)
    first = next((node.get_friendly_name() for node in model.get_ordered_ops() if _is(node, "Convolution")), None)
    last = {_last_product(result.input_value(0).get_node()) for result in model.get_results()}
    return masks | blend | last | ({first} if first else set())


def _last_product(node: Any) -> str:
    """Return the matrix product or convolution that is nearest to an output."""
    waiting = deque([node])
    while waiting:
        node = waiting.popleft()
        if _is(node, "MatMul") or _is(node, "Convolution"):
            break
        waiting += [value.get_node() for value in node.input_values()]
    return str(node.get_friendly_name())


def _is(node: Any, kind: str) -> bool:
    return bool(node.get_type_name() == kind)


def _nncf() -> ModuleType:
    """Import NNCF with its log silenced and its usage statistics disabled."""
    before = os.environ.get(_NO_TELEMETRY)
    os.environ[_NO_TELEMETRY] = "1"
    try:
        nncf = need("nncf", "int8")
    finally:
        if before is None:
            del os.environ[_NO_TELEMETRY]
        else:
            os.environ[_NO_TELEMETRY] = before
    nncf.set_log_level(logging.ERROR)
    return nncf
