"""Typed records of every JSON document: one declaration gives the reader, the writer and the JSON Schema.

A document is a `Document` whose tag is the id of its schema. The number in it rises with every change, and a document
of another number is refused. Numbers are finite; unknown values are null. Documents of a run hold a digest of
themselves, so that a value that a disk has changed is never taken for one that was written.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from rate.credentials import storable
from rate.errors import RateError
from rate.files import read_whole, write_atomically

if TYPE_CHECKING:
    from rate.types import Json

R = TypeVar("R")
D = TypeVar("D", bound="Document")

DIALECT = "https://json-schema.org/draft/2020-12/schema"

DIGEST = "sha256"
"""The key of a document's digest in its file: of the document without it, with sorted keys and no spaces."""

MAX_DEPTH = 64
"""The deepest nesting that is read; documents of `rate` have fewer than ten levels."""

Name: TypeAlias = Annotated[str, Meta(min_length=1)]
Sha256: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
AtLeastOne: TypeAlias = Annotated[int, Meta(ge=1)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Signed: TypeAlias = Annotated[float, Meta(ge=-1, le=1)]
RunStatus: TypeAlias = Literal["running", "complete", "partial", "failed"]


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a document."""


class Document(Record, frozen=True, tag_field="schema"):
    """A whole document; ``tag`` is the id of its schema, ``rate.<kind>/<number>``."""

    has_digest: ClassVar[bool] = False  # its file may hold `DIGEST`


def schema_id(kind: type[Document]) -> str:
    """Return the value of ``schema`` in a document of this kind."""
    return str(kind.__struct_config__.tag)


def record(kind: type[R], value: object) -> R:
    """Make a record of the attributes of ``value``, or of the entries of a mapping, that have the names of its fields.

    Raises:
        ValueError: a value does not match the record.
    """
    try:
        return msgspec.convert(value, kind, from_attributes=True)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def plain(value: object) -> Any:
    """Convert a record, or a value that holds records, to JSON values."""
    return msgspec.to_builtins(value, enc_hook=_path_as_text)


def written(value: object, as_ascii: bool = False) -> str:
    """Format a record as readable JSON without credentials; NaN raises an error."""
    return json.dumps(storable(plain(value)), indent=2, ensure_ascii=as_ascii, allow_nan=False)


def write(path: Path, document: object, digest: bool = False) -> None:
    """Write a document atomically; ``digest``: with the digest of its values as `DIGEST`."""
    content = json.dumps(_storable(document, digest), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(content.encode()))


def as_line(document: Document) -> bytes:
    """Format a document with its digest as one line of JSON, to be appended to a file."""
    value = _storable(document, digest=True)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def from_line(line: bytes, kind: type[D]) -> D:
    """Read the document of this kind that `as_line` wrote.

    Raises:
        ValueError: it is not what was written, or of another schema.
    """
    value = _decoded(line)
    if not (isinstance(value, dict) and DIGEST in value):
        raise ValueError(f"it has no `{DIGEST}`")
    return msgspec.convert(_checked(value, kind), kind)


def read(path: Path, kind: type[D], error: type[RateError], cure: str) -> D:
    """Read the document of this kind from a file.

    Args:
        path: a regular file, which may be of untrusted origin.
        kind: a `Document`.
        error: the type of the exception.
        cure: how to make such a file; the end of the message.

    Raises:
        error: the file cannot be read, is of another schema, or a field does not match ``kind``; the message names it.
    """
    try:
        value = read_json(path)
    except (OSError, ValueError) as reason:
        raise error(f"{path} cannot be read as JSON ({reason}); {cure}") from reason
    stored = value.get("schema") if isinstance(value, dict) else None
    expected = schema_id(kind)
    if stored != expected:
        raise error(
            f"{path} has the schema {stored!r}, expected {expected!r}: it was written by another version of rate or by "
            f"something else; {cure}"
        )
    try:
        value = _checked(value, kind)
        return msgspec.convert(value, kind)
    except (ValueError, RateError) as reason:  # msgspec.ValidationError is a ValueError
        raise error(f"{path}: {reason}{_value_at(value, str(reason))}; it is malformed, {cure}") from reason


def fits(value: object, kind: type[Document]) -> bool:
    """Tell whether the JSON values of a file are a document of this kind, unchanged since it was written."""
    try:
        msgspec.convert(_checked(value, kind), kind)
    except (ValueError, RateError):  # msgspec.ValidationError is a ValueError
        return False
    return True


def read_json(path: Path) -> Any:
    """Read the value of a JSON file whose texts can be written again and whose numbers are finite and fit 64 bits.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no regular file, too large, nested too deeply, or not JSON (NaN and infinities are not).
    """
    return _decoded(read_whole(path))


def _decoded(content: bytes) -> Any:
    try:
        value = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep") from error
    _check_values(value)
    return value


def schema_of(kind: type[Document]) -> Json:
    """Return the JSON Schema (draft 2020-12) of a document."""
    definitions: dict[str, Json]
    (reference,), definitions = msgspec.json.schema_components(
        [kind], ref_template="#/$defs/{name}", schema_hook=_schema_of_path
    )
    name = reference["$ref"].rpartition("/")[2]
    about: Json = {"$schema": DIALECT, "$id": schema_id(kind)}
    whole = definitions.pop(name)
    if kind.has_digest:
        whole["properties"][DIGEST] = {"type": "string", "description": "of the document without this key"}
    return about | whole | {"$defs": definitions}


def _storable(document: object, digest: bool) -> Json:
    value: Json = storable(plain(document))
    return value | {DIGEST: _digest(value)} if digest else value


def _digest(value: Json) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _checked(value: Any, kind: type[Document]) -> Any:
    """Return the values of a file without their digest, if documents of this kind have one.

    Raises:
        ValueError: the values are not those that were written. A document without a digest was written by hand.
    """
    if not (kind.has_digest and isinstance(value, dict) and DIGEST in value):
        return value
    rest = {name: one for name, one in value.items() if name != DIGEST}
    if _digest(rest) != value[DIGEST]:
        raise ValueError(f"its content is not what was written, by its own `{DIGEST}`")
    return rest


def _path_as_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is no value of JSON")


def _schema_of_path(kind: type) -> Json:
    if issubclass(kind, Path):
        return {"type": "string"}
    raise NotImplementedError(kind)


def _check_values(value: Any) -> None:
    """Refuse nesting that would exhaust the stack of readers, and integers beyond 64 bits."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        level = [child for children in inner for child in children]
        if any(isinstance(one, int) and abs(one) >= 1 << 64 for one in level):
            raise ValueError("it holds an integer of more than 64 bits")
        if not level:
            return
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _value_at(value: Any, reason: str) -> str:
    """Return the value of which msgspec complains, if its message has the path."""
    place = re.search(r" - at `\$(.*)`$", reason)
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", place[1]) if place else ():
        if index == "...":  # a key of a mapping, which the message omits
            return ""
        value = value[int(index)] if index else value.get(name)
    if place is None or reason.startswith("Object"):  # a missing or unknown field
        return ""
    shown = repr(value)
    return f", got {shown}" if len(shown) <= 60 else f", got {shown[:57]}..."
