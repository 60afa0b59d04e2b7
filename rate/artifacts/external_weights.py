"""The external weight files of an ONNX file, parsed from its bytes, since `onnx` need not be installed with a runtime.

Protocol buffers are fields of (number, wire type, content); the field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rate.errors import ArtifactError

MAX_DEPTH = 64
"""The deepest nesting of graphs in graphs that is followed."""

_INSIDE = {  # message kind -> field that holds messages -> their kind
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2  # field numbers of an entry
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


def check_external(path: Path, listed: frozenset[str]) -> None:
    """Refuse a graph that reads weights from an unlisted file, before a runtime opens it.

    Raises:
        ArtifactError: names the file, or the graph is no protocol buffer.
    """
    try:
        locations = set(_locations(memoryview(path.read_bytes()), "model", 0))
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read as an ONNX model ({error}); make the artifact again") from error
    for location in sorted(locations):
        if location not in listed:
            raise ArtifactError(
                f"{path} keeps weights in {location!r}, which is no listed file of its folder, and is refused; make "
                "the artifact again"
            )


def _locations(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ValueError(f"graphs are nested more than {MAX_DEPTH} deep")
    if kind == "entry":
        texts = dict(_texts(message))
        if texts.get(_KEY, b"") == b"location":
            yield bytes(texts.get(_VALUE, b"")).decode("utf-8", "replace")
        return
    inside = _INSIDE[kind]
    for number, content in _texts(message):
        if number in inside:
            yield from _locations(content, inside[number], depth + 1)


def _texts(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the fields with content: texts, bytes, messages."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        wire = tag & 7
        if wire == _VARINT:
            _, at = _varint(message, at)
        elif wire in (_FIXED_64, _FIXED_32):
            at += 8 if wire == _FIXED_64 else 4
        elif wire == _BYTES:
            length, at = _varint(message, at)
            yield tag >> 3, message[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
    if at > len(message):
        raise ValueError("it ends in the middle of a field")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("it ends in the middle of a number")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
