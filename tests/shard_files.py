"""Tar archives as bytes, honest and hostile."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

MASK = b"a mask"


def picture(level: int = 0, size: tuple[int, int] = (6, 4), form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("L", size, level).save(stream, form)
    return stream.getvalue()


def sample(key: str, label: str = "dog", boxes: object = ((0, 0, 2, 2),), **fields: object) -> dict[str, bytes]:
    """The members of a sample, the image's bytes named after the key."""
    text = json.dumps({"label": label, "boxes": boxes, **fields})
    return {f"{key}.jpg": f"image {key}".encode(), f"{key}.json": text.encode()}


def archive(files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for name, data in files.items():
            tar.addfile(entry(name, len(data)), io.BytesIO(data))
    return stream.getvalue()


def entry(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, **fields: object) -> bytes:
    """One header block (GNU form), of a size that need not be true."""
    return entry(name, size, kind, **fields).tobuf(tarfile.GNU_FORMAT)


def write_shards(folder: Path, *shards: Mapping[str, bytes]) -> str:
    """000.tar, 001.tar, ...; returns the pattern that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, files in enumerate(shards):
        (folder / f"{number:03d}.tar").write_bytes(archive(files))
    return f"{folder}/{{000..{len(shards) - 1:03d}}}.tar"
