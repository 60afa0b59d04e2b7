"""Weight sharing between two graphs of one model: the second graph reads tensors from the file of the first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rate.errors import need
from rate.export.graph.onnx_walk import tensors

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

_Key = tuple[int, tuple[int, ...], bytes]
"""The type, shape and digest of the bytes, which identify a tensor."""


@dataclass(frozen=True, slots=True)
class _Place:
    file: str
    offset: int
    length: int


def share_weights(graph: Path, first: Path) -> None:
    """Let ``graph`` read every tensor that ``first`` also stores from the file of ``first``.

    Tensors are identified by their content. The graph's other weights stay in its own file, which is deleted when it is
    empty.

    Args:
        graph: an .onnx file with its weights in ``graph`` + ".data"; it is rewritten.
        first: an .onnx file in the same folder; it is unchanged.
    """
    onnx = need("onnx", "export")
    known = {_key(first.parent, tensor): _place(tensor) for tensor in _external(_load(first))}
    model, own = _load(graph), graph.with_name(graph.name + ".data")
    left = bytearray()
    for tensor in _external(model):
        place = known.get(_key(graph.parent, tensor))
        if place is None:
            raw = _read(graph.parent, tensor)
            place = _Place(own.name, len(left), len(raw))
            left += raw
        _move(tensor, place)
    own.unlink(missing_ok=True)
    if left:
        own.write_bytes(left)
    onnx.save(model, str(graph))


def _load(path: Path) -> ModelProto:
    model: ModelProto = need("onnx", "export").load(str(path), load_external_data=False)
    return model


def _external(model: ModelProto) -> Iterator[TensorProto]:
    external = need("onnx", "export").TensorProto.EXTERNAL
    return (tensor for tensor in tensors(model) if tensor.data_location == external)


def _place(tensor: TensorProto) -> _Place:
    noted = {entry.key: entry.value for entry in tensor.external_data}
    return _Place(noted["location"], int(noted.get("offset", 0)), int(noted["length"]))


def _move(tensor: TensorProto, place: _Place) -> None:
    del tensor.external_data[:]
    for key, value in (("location", place.file), ("offset", place.offset), ("length", place.length)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)


def _read(folder: Path, tensor: TensorProto) -> bytes:
    place = _place(tensor)
    with (folder / place.file).open("rb") as stream:
        stream.seek(place.offset)
        return stream.read(place.length)


def _key(folder: Path, tensor: TensorProto) -> _Key:
    return tensor.data_type, tuple(tensor.dims), hashlib.sha256(_read(folder, tensor)).digest()
