"""Any ONNX model from images [n,3,h,w] f32 to logits [n,c]: `onnx:FILE`."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from rate.artifacts.folders import digest_file
from rate.artifacts.records import HeadInfo
from rate.backends.base import Graph, Logits
from rate.backends.batches import clean_rows
from rate.backends.onnxruntime import OrtSpec, RuntimeFailure, open_session
from rate.data.images.geometry import Geometry
from rate.data.storage.local_file import is_file
from rate.errors import BackendError, UsageError, need
from rate.export.graph.onnx_walk import save, shape, strip_traces, tensors
from rate.export.graph.perturbed import dims
from rate.export.graph.prepend_mask import OLDEST_OPSET, before_softmax, opset, perturb, set_output
from rate.export.graph.torch_to_onnx import check_inputs
from rate.export.options import ExportOptions, read_classes
from rate.export.sources.source_string import Reference
from rate.export.sources.stated_geometry import stated_geometry
from rate.kernels.separable import rise
from rate.types import Float32, Picture

HEAD = "native"
_SAME = 1e-4


@dataclass(frozen=True, eq=False)
class OnnxSource:
    """A model whose only output is its logits; weights stay in the file until the graph is written."""

    source: str
    path: Path
    model: Any  # ModelProto without its external data
    image: str  # name of its input
    session: Any  # the same model in ONNX Runtime
    batch: int | None  # fixed batch size; None = any
    geometry: Geometry
    infos: tuple[HeadInfo, ...]
    weights: str
    notices: tuple[str, ...]
    family: str = "onnx"

    def write_graph(self, path: Path) -> int:
        """Put the perturbation in front of the graph, write it, and return the opset.

        Raises:
            UsageError: a node of the graph, not its input alone, fixes the batch size.
        """
        onnx = need("onnx", "export")
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        _load_weights(model, self.path)
        perturb(model, self.image, self.geometry.size, self.infos[0])
        strip_traces(model)
        check_inputs(model, dims(self.geometry.size))
        save(model, path)
        if self.batch is not None:
            self._check_any_batch(path)
        return opset(model)

    def logits(self, images: Float32) -> Logits:
        """Compute the logits of the bare model in ONNX Runtime, in batches that the model accepts."""
        step = self.batch or len(images)
        padding = np.zeros((-len(images) % step, *images.shape[1:]), np.float32)
        padded = np.concatenate([images, padding])
        parts = [run(self.session, self.image, padded[k : k + step]) for k in range(0, len(padded), step)]
        return {HEAD: np.concatenate(parts)[: len(images)]}

    def _check_any_batch(self, path: Path) -> None:
        """Check that a batch of three images gives the logits of the single images."""
        size = self.geometry.size
        levels = np.linspace(0, 255, 3 * 3 * size * size).astype(np.uint8).reshape(3, 3, size, size)
        half = np.full(3, 127.5, np.float32)
        pictures = [Picture(one, half, np.float32(1) / half) for one in levels]
        images = np.stack([picture.pixels for picture in pictures])
        masks = rise(size, 2)
        rows = clean_rows(masks, np.arange(3))
        expected = self.logits(images)[HEAD]
        try:
            with OrtSpec(Graph(path, (HEAD,), size)).open(masks, 3) as backend:
                for slot, picture in enumerate(pictures):
                    backend.put(slot, picture)
                logits = backend.submit(rows).wait()[HEAD]
        except BackendError as error:
            raise UsageError(self._fixed(str(error))) from error
        if logits.shape != expected.shape:
            raise UsageError(self._fixed(f"three images give logits of shape {logits.shape}"))
        if not float(np.abs(logits - expected).max()) <= _SAME * max(1.0, float(np.abs(expected).max())):
            raise UsageError(self._fixed("three images at once give other logits than one by one"))

    def _fixed(self, cause: str) -> str:
        return (
            f"{self.path} is fixed to a batch of {self.batch} inside the graph ({cause}); "
            "export it again with a dynamic batch axis"
        )


def open_graph(reference: Reference, options: ExportOptions) -> OnnxSource:
    """Open the model in ``reference``, check it and run it once.

    Raises:
        UsageError: it is no model from square colour images to logits, or an option that it needs is missing.
    """
    path = Path(reference.rest)
    if options.heads:
        raise UsageError(
            f"--head {options.heads[0]}: an ONNX model has no features for other heads; only its output is exported"
        )
    model = read_model(path)
    output, softmax = _logits_output(model, path, options.output)
    set_output(model, output)
    image = _image_input(model, path, options.input)
    size, batch = _size_and_batch(model, image, path, options.size)
    geometry, notices = stated_geometry(size, options)
    session = _session(model, path)
    count = _count_classes(session, image, batch or 1, size, path)
    return OnnxSource(
        source=reference.text,
        path=path,
        model=model,
        image=image,
        session=session,
        batch=batch,
        geometry=geometry,
        infos=(HeadInfo(HEAD, "linear", _class_names(options, count, path)),),
        weights=_digest(model, path),
        notices=notices + softmax,
    )


def read_model(path: Path) -> Any:
    """Read the model's protobuf without its external weights, whose paths are checked.

    Raises:
        UsageError: the file is missing, is no ONNX model, is too old, or keeps weights outside its folder.
    """
    onnx = need("onnx", "export")
    if not path.is_file():
        raise UsageError(f"ONNX file {path} does not exist; expected onnx:FILE")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's decoding errors have no public type
        raise UsageError(f"{path} cannot be read as an ONNX model ({error})") from error
    if not model.graph.node:
        raise UsageError(f"{path} is not an ONNX model with at least one node")
    if opset(model) < OLDEST_OPSET:
        raise UsageError(f"{path} uses opset {opset(model)}, at least {OLDEST_OPSET} is needed; export it again")
    for location in external_files(model):
        check_location(location, path)
    return model


def external_files(model: Any) -> list[str]:
    """List the external weight files of a model, each once, as written in the model."""
    external = need("onnx", "export").TensorProto.EXTERNAL
    entries = (entry for tensor in tensors(model) if tensor.data_location == external for entry in tensor.external_data)
    return sorted({entry.value for entry in entries if entry.key == "location"})


def _load_weights(model: Any, path: Path) -> None:
    """Load the external weights of the model in ``path`` into it.

    Raises:
        UsageError: the files do not match the model.
    """
    try:
        need("onnx", "export").load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # offsets and lengths are texts, which may be malformed
        raise UsageError(f"the external weights of {path} cannot be read ({error}); copy them again") from error


def check_location(location: str, path: Path) -> None:
    """Check that an external weight file is inside the folder of the model ``path``.

    Raises:
        UsageError: the location is absolute, leaves the folder (also by a link), or is missing.
    """
    folder = path.parent.resolve()
    forms = (PurePosixPath(location), PureWindowsPath(location))
    inside = "\0" not in location and not any(form.is_absolute() or form.drive or ".." in form.parts for form in forms)
    if not (inside and Path(os.path.realpath(folder / location)).is_relative_to(folder)):
        raise UsageError(
            f"{path} keeps weights in {location!r}, outside its own folder, which is refused; put them beside it"
        )
    if not is_file(folder / location):
        raise UsageError(f"{path} keeps weights in {location!r}, which is not beside it; copy that file too")


def run(session: Any, image: str, images: Float32) -> Float32:
    """Compute the logits of ``images``; the session has one output.

    Raises:
        RuntimeFailure: the runtime refused.
    """
    try:
        logits: Float32 = session.run(None, {image: np.ascontiguousarray(images)})[0]
    except Exception as error:  # its exception types share no base class
        raise RuntimeFailure(str(error)) from error
    return logits


def _image_input(model: Any, path: Path, asked: str | None) -> str:
    """Return the name of the image input, which is f32 [n,3,h,w] and the only input."""
    onnx = need("onnx", "export")
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in stored}
    if asked is not None and asked not in inputs:
        raise UsageError(f"--input {asked!r}: {path} has the inputs {', '.join(inputs)}")
    if len(inputs) != 1:
        raise UsageError(f"{path} has the inputs {', '.join(inputs) or 'none'}; a model with one image input is needed")
    name, value = str(next(iter(inputs))), next(iter(inputs.values()))
    kind, axes = value.type.tensor_type.elem_type, shape(value)
    if kind != onnx.TensorProto.FLOAT:
        element_type = onnx.TensorProto.DataType.Name(kind)
        raise UsageError(
            f"input {name!r} of {path} is {element_type}; only float32 inputs can be perturbed, export it in float32"
        )
    if len(axes) != 4 or (isinstance(axes[1], int) and axes[1] != 3):
        cure = "; transpose it to channels first" if len(axes) == 4 and axes[3] == 3 else ""
        raise UsageError(f"input {name!r} of {path} has the shape {axes}; expected [n, 3, height, width]{cure}")
    return name


def _size_and_batch(model: Any, image: str, path: Path, asked: int | None) -> tuple[int, int | None]:
    """Return the side of the square input and the fixed batch size of the input, if any."""
    batch, _, height, width = shape(next(value for value in model.graph.input if value.name == image))
    fixed = {axis for axis in (height, width) if isinstance(axis, int)}
    if len(fixed) > 1:
        raise UsageError(f"{path} takes {height} x {width} pixels; only square images can be perturbed")
    if fixed and asked not in (None, *fixed):
        raise UsageError(f"--size {asked}: {path} is fixed to {fixed.pop()} pixels; leave --size out")
    if not fixed and asked is None:
        raise UsageError(f"{path} takes images of any size; add --size, the side in pixels it was trained with")
    return asked if asked is not None else fixed.pop(), batch if isinstance(batch, int) else None


def _logits_output(model: Any, path: Path, asked: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the name of the tensor that holds the logits, and a notice if it is not the output itself."""
    outputs = [value.name for value in model.graph.output]
    if asked is not None and asked not in outputs:
        raise UsageError(f"--output {asked!r}: {path} has the outputs {', '.join(outputs)}")
    if asked is None and len(outputs) != 1:
        raise UsageError(f"{path} has the outputs {', '.join(outputs)}; name the logits with --output")
    output = asked or outputs[0]
    before = before_softmax(model, output)
    if before is None:
        return output, ()
    return before, (f"{path} ends in a softmax; what goes into it, {before!r}, is taken as the logits",)


def _session(model: Any, path: Path) -> Any:
    try:
        return open_session(model.SerializeToString(), folder=path.parent.resolve())
    except RuntimeFailure as error:
        raise UsageError(f"ONNX Runtime cannot load {path}: {error}") from error


def _count_classes(session: Any, image: str, batch: int, size: int, path: Path) -> int:
    """Run one black batch and check the shape of the output."""
    try:
        logits = run(session, image, np.zeros((batch, 3, size, size), np.float32))
    except RuntimeFailure as error:
        raise UsageError(f"{path} cannot be run on images of {size} x {size} pixels: {error}") from error
    if logits.ndim != 2 or logits.dtype != np.float32 or logits.shape[0] != batch:
        raise UsageError(
            f"{path} gives {logits.dtype} {logits.shape} for {batch} images; expected float32 logits [n, classes]"
        )
    return int(logits.shape[1])


def _class_names(options: ExportOptions, count: int, path: Path) -> tuple[str, ...]:
    if options.classes is None:
        raise UsageError(
            f"{path} has {count} classes without names; add --classes FILE, one name a line in their order"
        )
    return read_classes(options.classes, count)


def _digest(model: Any, path: Path) -> str:
    digest = hashlib.sha256(digest_file(path).encode())
    for location in external_files(model):
        digest.update(digest_file(path.parent / location).encode())
    return digest.hexdigest()
