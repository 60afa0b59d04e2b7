"""Maps that another tool made, by the ids of samples: files, folders of files, or a mapping in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from rate.data.digests import SetDigest
from rate.data.images.prepare import read_image
from rate.data.storage.limits import max_pixels
from rate.data.storage.objects import url_of
from rate.data.storage.remote_cache import fetched_as
from rate.errors import DataError, SampleError, first_line
from rate.types import Float64, Sample

ONE_MAP = (".npy", ".png")
"""Files of one map, which is named by the file."""

MANY_MAPS = (".npz", ".safetensors")
"""Files of maps by name."""

CURE = "name maps after the ids of their samples, with or without the suffix of the image: cat/1.jpg is cat/1.npy"
_GREY = ("1", "L", "I", "I;16", "I;16B", "F")
_CHANNELS = 3


class MapShape(SampleError):
    """A map that cannot cover the pixels of its image."""


@dataclass(frozen=True, slots=True)
class GivenMaps:
    """Maps by name."""

    name: str  # where they are, for messages
    names: frozenset[str]
    _read: Callable[[str], object]

    @classmethod
    def at(cls, path: Path) -> GivenMaps:
        """List the maps of a file or a folder.

        Raises:
            DataError: there are none, two have one name, or a file of several cannot be read.
        """
        url = url_of(path)
        files = MapFiles(path if url is None else _fetched(url))
        return cls(url or str(path), frozenset(files.places), files.read)

    @classmethod
    def of(cls, maps: Mapping[str, object]) -> GivenMaps:
        """Take maps in memory."""
        return cls("the mapping", frozenset(maps), maps.__getitem__)

    def name_of(self, sample_id: str) -> str | None:
        """Return the name of a sample's map: its id, or that without a suffix; None = it has no map."""
        if sample_id in self.names:
            return sample_id
        plain = str(PurePosixPath(sample_id).with_suffix("")) if PurePosixPath(sample_id).suffix else sample_id
        return plain if plain in self.names else None

    def of_sample(self, sample_id: str) -> Float64:
        """Read the map [y,x] of a sample.

        Raises:
            SampleError: there is none, or it cannot be read.
        """
        name = self.name_of(sample_id)
        if name is None:
            raise SampleError(f"{self.name} has no map of sample {sample_id!r}; {CURE}")
        return as_map(self._read(name), f"the map {name!r} of {self.name}")

    def digest(self, samples: Iterable[Sample]) -> tuple[str, tuple[str, ...]]:
        """Compute the digest of the samples' maps, independent of files and order, and what is to be said of them.

        Raises:
            DataError: no sample has a map, or a map could be that of two samples.
        """
        digest, used, without = SetDigest(), dict[str, str](), list[str]()
        for sample in samples:
            name = self.name_of(sample.id)
            if name is None:
                without.append(sample.id)
            elif name in used:
                raise DataError(
                    f"the map {name!r} of {self.name} may be that of {used[name]!r} or of {sample.id!r}; give it the "
                    "whole id as its name"
                )
            else:
                used[name] = sample.id
                digest.add(self._digest_of(sample.id))
        if not used:
            some = min(map(str, self.names), default="")
            raise DataError(
                f"none of the {len(self.names)} maps of {self.name}, such as {some!r}, has the id of a sample, such as "
                f"{without[0]!r}; {CURE}"
            )
        said = []
        if without:
            count = len(used) + len(without)
            said.append(f"{self.name} has no map for {len(without)} of {count} samples, such as {without[0]!r}")
        if extra := self.names - used.keys():
            least = min(map(str, extra))
            said.append(f"{len(extra)} of {len(self.names)} maps are of no sample that is judged, such as {least!r}")
        return digest.hexdigest(), tuple(said)

    def _digest_of(self, sample_id: str) -> bytes:
        try:
            values = self.of_sample(sample_id)
        except SampleError as error:
            return hashlib.sha256(ascii((sample_id, str(error))).encode()).digest()
        content = hashlib.sha256(ascii((sample_id, values.shape)).encode())
        content.update(np.ascontiguousarray(values).data)
        return content.digest()


def as_map(values: Any, what: str) -> Float64:
    """Convert an array, or a tensor of torch, to a map [y,x]; three channels are summed, as signed values.

    Raises:
        MapShape: it has not one value a pixel.
        SampleError: it holds no real numbers, or is too large.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise SampleError(f"{what} holds {array.dtype}, expected real numbers, such as float32")
    if array.size > _CHANNELS * max_pixels():
        raise SampleError(
            f"{what} has {array.size:,} values, the limit is {max_pixels():,}; RATE_MAX_PIXELS changes it"
        )
    shape = array.shape
    while array.ndim > 2 and 1 in array.shape:
        array = array.squeeze(array.shape.index(1))
    if array.ndim == 3 and _CHANNELS in (array.shape[0], array.shape[2]):
        array = array.astype(np.float64).sum(axis=0 if array.shape[0] == _CHANNELS else 2)
    if array.ndim != 2 or not array.size:
        raise MapShape(f"{what} has the shape {list(shape)}, expected a value a pixel, [h, w], or channels, [3, h, w]")
    return array.astype(np.float64)


class MapFiles:
    """The maps in a file, or in all files below a folder."""

    def __init__(self, path: Path) -> None:
        """List them; see `GivenMaps.at`."""
        self._opened = lru_cache(maxsize=16)(_open)
        self.places: dict[str, Path] = {}
        if not path.exists():
            raise DataError(f"{path} does not exist; MAPS is a file or a folder of {', '.join((*ONE_MAP, *MANY_MAPS))}")
        for file in _files(path):
            suffix = file.suffix.lower()
            names = self._names_in(file) if suffix in MANY_MAPS else [_name_of(file, path)]
            for name in names:
                if name in self.places:
                    raise DataError(
                        f"{self.places[name]} and {file} both hold a map named {name!r}; remove one of them"
                    )
                self.places[name] = file
        if not self.places:
            raise DataError(f"{path} holds no maps; they are {', '.join((*ONE_MAP, *MANY_MAPS))} files; {CURE}")

    def read(self, name: str) -> object:
        """Read a map.

        Raises:
            SampleError: it cannot be read.
        """
        file = self.places[name]
        if file.suffix.lower() == ".png":
            return read_image(str(file), lambda image: _grey(image, file))
        try:
            if file.suffix.lower() == ".npy":
                return np.load(file, mmap_mode="r", allow_pickle=False)
            values = self._opened(file)
            _check_bytes(values, name, file)
            return values[name] if isinstance(values, np.lib.npyio.NpzFile) else values.get_tensor(name)
        except SampleError:
            raise
        except Exception as error:  # readers raise arbitrary exceptions: OSError, ValueError, zipfile.BadZipFile, ...
            raise SampleError(f"the map {name!r} of {file} cannot be read: {first_line(error)}") from error

    def _names_in(self, file: Path) -> Iterable[str]:
        try:
            return sorted(self._opened(file).keys())
        except Exception as error:  # as above
            raise DataError(f"{file} cannot be read: {first_line(error)}") from error


def _fetched(url: str) -> Path:
    """Return the local copy of a file of maps."""
    suffix = PurePosixPath(url.partition("?")[0]).suffix.lower()
    if suffix not in MANY_MAPS:
        raise DataError(f"{url}: remote maps are in one file, {' or '.join(MANY_MAPS)}; put them in one, or fetch them")
    try:
        return fetched_as(url, suffix)
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"the maps {url} cannot be fetched: {error}") from error


def _open(file: Path) -> Any:
    if file.suffix.lower() == ".npz":
        return np.load(file, allow_pickle=False)
    from safetensors import safe_open

    return safe_open(file, "numpy")


def _check_bytes(values: Any, name: str, file: Path) -> None:
    """Refuse a map that would take more memory than any image."""
    most = 8 * _CHANNELS * max_pixels()
    if isinstance(values, np.lib.npyio.NpzFile) and values.zip is not None:
        members = {member.filename: member.file_size for member in values.zip.infolist()}
        size = members.get(f"{name}.npy", members.get(name, 0))
        if size > most:
            raise SampleError(f"the map {name!r} of {file} has {size:,} bytes, the limit is {most:,}")


def _files(path: Path) -> list[Path]:
    if path.is_file():
        if path.suffix.lower() not in (*ONE_MAP, *MANY_MAPS):
            raise DataError(f"{path} ends in {path.suffix!r}; maps are {', '.join((*ONE_MAP, *MANY_MAPS))} files")
        return [path]
    inside = (Path(folder, name) for folder, _, names in os.walk(path) for name in names if not name.startswith("."))
    return sorted(file for file in inside if file.suffix.lower() in (*ONE_MAP, *MANY_MAPS))


def _name_of(file: Path, path: Path) -> str:
    return file.stem if file == path else file.relative_to(path).with_suffix("").as_posix()


def _grey(image: Image.Image, file: Path) -> Any:
    if image.mode not in _GREY:
        raise SampleError(
            f"{file} is a picture of mode {image.mode}; a map is grey: save its values, not their colours"
        )
    return np.asarray(image)
