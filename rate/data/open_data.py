"""The rows of DATA, which is a manifest, tar shards, or Parquet or Arrow files with embedded images, as one stream."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rate.credentials import without_credentials
from rate.data.blocks import Block, in_blocks, manifest_blocks
from rate.data.formats.arrow_streams import saved_files
from rate.data.formats.picture_rows import is_picture_table, picture_rows
from rate.data.formats.tar import tar_rows
from rate.data.manifest import ParsedRow, parse_rows
from rate.data.mask_table import mask_table, with_mask_values
from rate.data.storage.hub_files import hub_files
from rate.data.storage.location import Folder, RemoteFolder
from rate.data.storage.remote_cache import fetched_as
from rate.data.storage.retries import with_retries
from rate.errors import DataError
from rate.reading import USUAL, Reading

MAX_CONTAINERS = 100_000
"""The largest number of files that a pattern may match."""

_BRACES = re.compile(r"\{(?:([0-9]{1,9})\.\.([0-9]{1,9})|([^{}]*,[^{}]*))\}")
_MAGIC = re.compile(r"[*?\[]")
_COMPRESSED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".lz4")


def open_rows(data: str, reading: Reading = USUAL) -> Iterator[ParsedRow]:
    """Yield every row of DATA, valid or not, without keeping rows in memory.

    Args:
        data: a manifest (.csv, .jsonl, .parquet), or shards (.tar, or .parquet or .arrow with image bytes): a path, a
            pattern (`shards/{000..099}.tar`, `shards/*.tar`), or an fsspec URL of either; or a folder that
            `save_to_disk` of `datasets` wrote.
        reading: what the values of masks mean.

    Raises:
        DataError: the source is missing, of another kind, or cannot be read as a whole. Problems of the name are raised
            at once, others during the iteration.
        ConfigError: what should say which values of masks mean what does not.
    """
    return _rows(_source(data, reading), data, reading)


def open_blocks(data: str, reading: Reading = USUAL, headers: bool = False) -> Iterator[Block]:
    """Yield every row of DATA in blocks; ``headers`` as of `tar_rows`.

    Raises:
        DataError: as `open_rows`.
        ConfigError: likewise.
    """
    source, folder = _source(data, reading, headers), folder_of(data, reading)
    if isinstance(source, Path) and mask_table(data, reading) is None:
        return manifest_blocks(source, folder)
    return in_blocks(_rows(source, data, reading), folder)


def _rows(source: Path | Iterator[ParsedRow], data: str, reading: Reading) -> Iterator[ParsedRow]:
    rows = parse_rows(source, folder_of(data, reading)) if isinstance(source, Path) else source
    return with_mask_values(rows, data, reading)


def _source(data: str, reading: Reading, headers: bool = False) -> Path | Iterator[ParsedRow]:
    """Return the path of a manifest, or the rows of shards or of a remote manifest."""
    files = expand(data)
    kind = _kind(data, files)
    if kind == ".tar":
        return _some(data, tar_rows(files, reading, headers))
    if kind == ".arrow" or (kind == ".parquet" and (len(files) > 1 or is_picture_table(files[0], reading))):
        return _some(data, picture_rows(files, reading))
    if len(files) > 1:
        raise DataError(f"{data} names {len(files)} manifests; a manifest is one file")
    reading.refuse_tables(data)
    if "://" not in files[0]:
        return Path(files[0])
    if reading.root:
        raise DataError(f"--root {reading.root[0]} goes with a manifest on this machine, and {data} is remote")
    return _remote_rows(files[0], kind)


def _remote_rows(url: str, kind: str) -> Iterator[ParsedRow]:
    try:
        path = fetched_as(url, kind)
    except FileNotFoundError as error:
        raise DataError(f"the manifest {url} does not exist") from error
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"the manifest {url} cannot be fetched: {error}") from error
    try:
        yield from parse_rows(path, RemoteFolder(url))
    except DataError as error:
        raise type(error)(str(error).replace(str(path), url)) from error


def folder_of(data: str, reading: Reading = USUAL) -> Folder:
    """Return the folder to which the locations of DATA are relative; a set that moves as a whole stays the same set."""
    roots = reading.roots
    if "://" in data:
        return Folder(Path(), roots) if _kind(data, [data]) == ".tar" else RemoteFolder(data)
    literal = Path(data)
    while not literal.exists() and re.search(r"[*?\[{]", str(literal)):
        literal = literal.parent
    return Folder(literal if literal.is_dir() else literal.parent, roots)


def expand(data: str) -> list[str]:
    """Return the files that DATA names, as absolute paths or URLs: braces in their order, matches of a pattern sorted.

    Raises:
        DataError: no file matches, or DATA is a folder of another library than `datasets`.
    """
    if "://" not in data and Path(data).exists():
        saved = saved_files(Path(data))
        return [_local(data)] if saved is None else saved
    if (of_hub := _hub_files(data)) is not None:
        return of_hub
    files: list[str] = []
    for one in itertools.islice(_braced(data), MAX_CONTAINERS + 1):
        files.extend(_matches(one) if _MAGIC.search(one) else [one if "://" in one else _local(one)])
        if len(files) > MAX_CONTAINERS:
            raise DataError(f"{data} names more than {MAX_CONTAINERS:,} files; use fewer, larger shards")
    for path in files:
        if "://" not in path and not Path(path).exists():
            raise DataError(
                f"{path} does not exist; DATA is a manifest, shards like 'set/{{000..099}}.tar', Parquet with images, "
                "a saved dataset, or a URL"
            )
    return files


def _hub_files(data: str) -> list[str] | None:
    try:
        return None if _MAGIC.search(data) or _BRACES.search(data) else hub_files(data)
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"{data} cannot be looked up: {error}") from error


def _braced(data: str) -> Iterator[str]:
    """Expand `{000..099}` and `{a,b}` as a shell does."""
    match = _BRACES.search(data)
    if match is None:
        yield data
        return
    low, high, words = match.groups()
    choices: Iterable[str] = words.split(",") if words is not None else _numbers(low, high)
    for choice in choices:
        for rest in _braced(data[match.end() :]):
            yield f"{data[: match.start()]}{choice}{rest}"


def _numbers(low: str, high: str) -> Iterator[str]:
    width = max(len(low), len(high)) if "0" in (low[0], high[0]) and max(len(low), len(high)) > 1 else 0
    step = 1 if int(low) <= int(high) else -1
    return (f"{number:0{width}d}" for number in range(int(low), int(high) + step, step))


def _matches(pattern: str) -> list[str]:
    try:
        matches = sorted(_remote_matches(pattern) if "://" in pattern else _local_matches(pattern))
    except DataError:
        raise
    except Exception as error:  # each fsspec backend has its own exceptions
        said = without_credentials(str(error), known=pattern)
        raise DataError(f"{pattern} cannot be looked up: {type(error).__name__}: {said}") from error
    if not matches:
        raise DataError(f"no file matches {pattern}")
    return matches


def _local_matches(pattern: str) -> list[str]:
    absolute = Path(pattern).absolute()
    matches = Path(absolute.anchor).glob(str(absolute.relative_to(absolute.anchor)))
    return [str(path) for path in matches if not path.name.startswith(".")]


def _remote_matches(pattern: str) -> list[str]:
    import fsspec

    if "::" in pattern:
        raise DataError(f"a pattern in a chained URL is not expanded ({pattern}); name the shards: {{000..099}}")
    filesystem, name = fsspec.core.url_to_fs(pattern)
    return [str(filesystem.unstrip_protocol(path)) for path in with_retries(pattern, lambda: filesystem.glob(name))]


def _local(path: str) -> str:
    return str(Path(path).absolute())


def _kind(data: str, files: list[str]) -> str:
    """Return the common suffix of the files."""
    suffixes = {Path(path.partition("?")[0] if "://" in path else path).suffix.lower() for path in files}
    if any(Path(path).is_dir() for path in files if "://" not in path):
        cure = f"`rate data index folder` writes a manifest for one of images; shards are named: {data}/*.tar"
        raise DataError(f"{data} is a folder; {cure}")
    if suffixes & set(_COMPRESSED):
        raise DataError(f"{data} is compressed, and images are read at random from a shard: decompress it to .tar")
    if len(suffixes) > 1:
        raise DataError(f"{data} names files of several kinds: {', '.join(sorted(suffixes))}; name one kind")
    return suffixes.pop()


def _some(data: str, rows: Iterator[ParsedRow]) -> Iterator[ParsedRow]:
    """Yield the rows, and refuse a source without rows."""
    first = next(rows, None)
    if first is None:
        raise DataError(f"{data} has no samples; each is an image with its label and its region")
    yield from itertools.chain([first], rows)
