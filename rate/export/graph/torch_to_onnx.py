"""The export from tower and heads to an ONNX graph, with a check that the right axes are dynamic."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from rate.errors import RateError, need
from rate.export.graph import perturbed, tokens
from rate.export.graph.onnx_walk import shape, strip_traces
from rate.export.graph.perturbed import Perturbed, dims

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20


def export_graph(tower: nn.Module, heads: Mapping[str, nn.Module], size: int, path: Path) -> None:
    """Write the perturbed graph to ``path`` and its weights, once, to ``path`` + ".data".

    Args:
        tower: pixels [b,3,h,w] -> features [b,d], in eval mode, on the CPU.
        heads: output name -> module, features [b,d] -> logits [b,c].
        size: side of the square input, pixels.
        path: the .onnx file.

    Raises:
        RateError: the model cannot be exported with dynamic axes.
    """
    module = Perturbed(tower, list(heads.values())).eval()
    _write(module, list(heads), dims(size), perturbed.sample_inputs(size), path)


def export_tokens(tower: nn.Module, heads: Mapping[str, nn.Module], cut: tokens.Cut, size: int, path: Path) -> None:
    """Write the token graph to ``path`` and its weights to ``path`` + ".data"; arguments as in `export_graph`.

    Args:
        tower: see `export_graph`.
        heads: see `export_graph`.
        cut: where ``tower`` drops patches.
        size: side of the square input, pixels.
        path: the .onnx file.

    Raises:
        RateError: the model cannot be exported with dynamic axes.
    """
    module = tokens.TokenForm(tower, list(heads.values()), cut).eval()
    with cut.replaced(module.gather):
        _write(module, list(heads), tokens.dims(size), tokens.sample_inputs(size), path)


Axes = Mapping[str, tuple[str | int, ...]]
"""Input name -> its shape; a string is a dynamic axis."""


def _write(module: nn.Module, outputs: list[str], axes: Axes, inputs: tuple[torch.Tensor, ...], path: Path) -> None:
    program = _trace(module, outputs, axes, inputs)
    program.save(str(path), external_data=True)
    onnx = need("onnx", "export")
    model = onnx.load(str(path), load_external_data=False)
    strip_traces(model)
    check_inputs(model, axes)
    onnx.save(model, str(path))


def _trace(
    module: nn.Module, outputs: list[str], axes: Axes, inputs: tuple[torch.Tensor, ...]
) -> torch.onnx.ONNXProgram:
    with warnings.catch_warnings(), _quiet("onnxscript"):
        # torch warns about its own code, which users cannot change
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)
        try:
            # A trace records the memory layout of its kernel, while the graph is made of the plain form of attention. A
            # masked attention that is traced through a fused kernel cannot be exported.
            with sdpa_kernel(SDPBackend.MATH):
                program = torch.onnx.export(
                    module,
                    inputs,
                    input_names=list(axes),
                    output_names=outputs,
                    opset_version=OPSET,
                    dynamo=True,
                    dynamic_shapes=_dynamic(axes),
                    verbose=False,
                )
        except Exception as error:  # the exporter raises whatever its passes raise
            raise RateError(
                f"torch cannot export this model: {_cause(error)}; another version of torch may, "
                "or give a graph made by other means as onnx:FILE"
            ) from error
    if program is None:
        raise RateError("torch.onnx.export returned no program; this version of torch is too old, install 2.8 or newer")
    return program


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence a library's logger, which reports optimisations that it does not make, node by node."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _dynamic(shapes: Axes) -> tuple[dict[int, object], ...]:
    """Map each axis to its name where the name is new, and to DYNAMIC where it repeats, since torch warns about
    repeats.

    Both forms raise an error if the axis is static, which a `Dim` object would silently make it.
    """
    seen: set[str] = set()
    by_input: list[dict[int, object]] = []
    for axes in shapes.values():
        named: dict[int, object] = {}
        for position, axis in enumerate(axes):
            if isinstance(axis, str):
                named[position] = torch.export.Dim.DYNAMIC if axis in seen else axis
                seen.add(axis)
        by_input.append(named)
    return tuple(by_input)


def check_inputs(model: ModelProto, expected: Axes) -> None:
    """Check that the graph's inputs are exactly those of the contract, with the right dynamic axes.

    Raises:
        RateError: an axis is static that must be dynamic, or the other way round.
    """
    actual = {value.name: shape(value) for value in model.graph.input}
    if actual != expected:
        wrong = {name: actual.get(name) for name in expected if actual.get(name) != expected[name]}
        raise RateError(
            f"the exported graph has inputs {wrong}, expected { ({name: expected[name] for name in wrong}) }: "
            "the model fixes an axis that must be free; make its forward independent of the batch size"
        )


def _cause(error: BaseException) -> str:
    """Return the first line of the innermost cause; the exporter wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    return f"{type(error).__name__}: {line}"
