"""Heads as text embeddings in a file: learned prompts, adapters of the text tower, or anything else that made vectors.

.npy                    an array [c,d], one row a class; CLASSES names the rows
.npz, .safetensors      the array `embeddings` [c,d], with its classes in the array or the metadata `classes` (in
                        safetensors a JSON list), or named by CLASSES; or else a vector [d] under the name of each
                        class. Numbers `scale` and `bias` replace those of the model.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rate.artifacts.arrays import read_all_arrays
from rate.artifacts.weights import read_state
from rate.errors import UsageError, first_line, need
from rate.export.options import read_classes

_ROWS, _CLASSES, _SCALARS = "embeddings", "classes", ("scale", "bias")
_UNIT = 1e-3
"""The distance from one at which a length is not one in half precision either."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The classes of a head with their directions."""

    classes: tuple[str, ...]
    rows: Tensor  # [c,d] f32, of unit length
    scale: float | None  # of the cosine; None: the model's
    bias: float | None


def read_embeddings(path: Path, classes: Path | None, dim: int, note: Callable[[str], None]) -> Embeddings:
    """Read the vectors of ``path``, one a class, and divide each by its length.

    Args:
        path: .npy, .npz or .safetensors.
        classes: names of the rows in order, one a line, for a file that has none.
        dim: the length of the model's embeddings.
        note: receives a notice about lengths that are not one.

    Raises:
        UsageError: the file cannot be read, or its shape, its values or its names are not those of such a head.
    """
    arrays, told = _arrays(path)
    scalars = {name: _scalar(arrays.pop(name), name, path) for name in _SCALARS if name in arrays}
    names, rows = _named(arrays, told, path)
    if rows.ndim != 2 or rows.shape[1] != dim:
        turned = "; it is the other way round, save its transpose" if rows.ndim == 2 and rows.shape[0] == dim else ""
        raise UsageError(f"{path} has the shape {tuple(rows.shape)}, expected [classes, {dim}] for this model{turned}")
    if names is None:
        if classes is None:
            raise UsageError(
                f"{path} does not name its {len(rows)} rows; write embeddings:{path}:CLASSES, a file with one name a "
                "line in the order of the rows"
            )
        names = _of_rows(read_classes(classes, None), len(rows), classes, path)
    elif classes is not None:
        raise UsageError(f"{path} names its classes itself; leave {classes} out")
    _check_names(names, len(rows), path)
    return Embeddings(names, _unit(rows, names, path, note), scalars.get("scale"), scalars.get("bias"))


def _arrays(path: Path) -> tuple[dict[str, Any], Sequence[str] | None]:
    """Return the arrays by name ("" = the only one) and the classes that stand in the metadata."""
    if path.suffix == ".safetensors":
        arrays: dict[str, Any] = {name: value.numpy(force=True) for name, value in _floats(path).items()}
        return arrays, _metadata(path)
    if path.suffix not in (".npy", ".npz"):
        raise UsageError(f"{path} ends in {path.suffix!r}; embeddings are .npy, .npz or .safetensors")
    try:
        return read_all_arrays(path), None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise UsageError(f"{path} cannot be read as embeddings ({first_line(error)})") from error


def _floats(path: Path) -> Mapping[str, Tensor]:
    # numpy has no bfloat16
    return {name: value.float() if value.is_floating_point() else value for name, value in read_state(path).items()}


def _metadata(path: Path) -> Sequence[str] | None:
    with need("safetensors", "export").safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(_CLASSES)
    try:
        names = None if text is None else json.loads(text)
    except ValueError:
        names = 0
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UsageError(f"{path}: the metadata `{_CLASSES}` must be a JSON list of names")
    return names


def _named(
    arrays: dict[str, Any], told: Sequence[str] | None, path: Path
) -> tuple[tuple[str, ...] | None, np.ndarray[Any, Any]]:
    """Return the names of the rows, None = there are none, and the rows."""
    classes = arrays.pop(_CLASSES, None)
    if classes is not None and (classes.dtype.kind != "U" or classes.ndim != 1):
        raise UsageError(f"{path}: `{_CLASSES}` must be a list of names, numpy.array(names, str)")
    names = told if classes is None else classes.tolist()
    rows = arrays.get("", arrays.get(_ROWS))
    if rows is not None and len(arrays) == 1:
        return None if names is None else tuple(names), rows
    if names is None and arrays and all(one.ndim == 1 for one in arrays.values()):
        lengths = {len(one): name for name, one in arrays.items()}
        if len(lengths) == 1:
            return tuple(arrays), np.stack(list(arrays.values()))
    shown = ", ".join(f"{name} {tuple(one.shape)}" for name, one in list(arrays.items())[:4])
    raise UsageError(
        f"{path} holds {shown or 'no arrays'}; expected `{_ROWS}` [classes, d] with `{_CLASSES}`, or one vector [d] "
        "under the name of each class"
    )


def _of_rows(names: tuple[str, ...], count: int, classes: Path, path: Path) -> tuple[str, ...]:
    if len(names) != count:
        raise UsageError(f"{classes} has {len(names)} names, {path} has {count} rows; one line for each, in order")
    return names


def _check_names(names: Sequence[str], count: int, path: Path) -> None:
    if len(names) != count or count < 2:
        raise UsageError(f"{path} has {len(names)} classes and {count} rows; at least 2, and one row for each")
    if wrong := [name for name, times in Counter(names).items() if not name.strip() or times > 1]:
        raise UsageError(f"{path}: the class {wrong[0]!r} is empty or stands there twice; names must differ")


def _unit(rows: np.ndarray[Any, Any], names: Sequence[str], path: Path, note: Callable[[str], None]) -> Tensor:
    if rows.dtype.kind != "f":
        raise UsageError(f"{path} holds {rows.dtype}, expected floating point numbers")
    vectors = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
    lengths = vectors.norm(dim=1)
    for name, length in zip(names, lengths.tolist(), strict=True):
        if not (math.isfinite(length) and length > 0.0):
            raise UsageError(f"{path}: the vector of {name!r} has the length {length}; it has no direction")
    if float((lengths - 1).abs().max()) > _UNIT:
        note(
            f"its vectors are {lengths.min():.3g} to {lengths.max():.3g} long and are divided by their lengths: the "
            "cosine takes directions alone"
        )
    unit: Tensor = vectors / lengths[:, None]
    return unit


def _scalar(value: Any, name: str, path: Path) -> float:
    number = float(value.item()) if value.size == 1 and value.dtype.kind == "f" else math.nan
    if not math.isfinite(number) or (name == "scale" and number <= 0.0):
        wanted = "a positive number, by which the cosine is multiplied" if name == "scale" else "a number"
        raise UsageError(f"{path}: `{name}` must be {wanted}, got {np.array2string(np.asarray(value), threshold=4)}")
    return number
