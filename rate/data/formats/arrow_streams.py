"""Arrow streams as Hugging Face `datasets` saves them: batches of rows in a file that is mapped into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rate.data.storage.container import regular_file
from rate.errors import DataError
from rate.files import read_text

_OPEN_FILES = 64
_BATCH = 1024  # rows
_DICT, _STATE = "dataset_dict.json", "state.json"
_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True, eq=False)
class ArrowStream:
    """A stream; nothing of a batch is in memory until it is used."""

    schema: Any  # pyarrow.Schema
    batches: Sequence[Any]  # pyarrow.RecordBatch

    def picture(self, batch: int, row: int, column: str) -> bytes | None:
        """Return the bytes of an image; None = the cell is null.

        Raises:
            IndexError, KeyError: there is no such cell.
        """
        (value,) = _bytes_of(self.batches[batch].column(column).slice(row, 1))
        return None if (data := value.as_py()) is None else bytes(data)

    def has_bytes(self, batch: int, column: str) -> bool:
        """Tell whether an image of a batch has bytes."""
        cells = _bytes_of(self.batches[batch].column(column))
        return not len(cells) or cells.null_count < len(cells)

    def cells(
        self, batch: int, columns: Sequence[str], paths_of: str | None
    ) -> Iterator[tuple[dict[str, Any], str | None]]:
        """Yield the cells of each row of a batch, and the path in its image in the column ``paths_of``."""
        import pyarrow.compute as compute

        whole = self.batches[batch]
        for start in range(0, whole.num_rows, _BATCH):
            part = whole.slice(start, _BATCH)
            paths = [None] * part.num_rows
            if paths_of is not None:
                paths = compute.struct_field(part.column(paths_of), "path").to_pylist()
            cells = part.select(list(columns)).to_pylist() if columns else [{} for _ in paths]
            yield from zip(cells, paths, strict=True)


def _bytes_of(cells: Any) -> Any:
    import pyarrow.compute as compute
    import pyarrow.types as kinds

    return compute.struct_field(cells, "bytes") if kinds.is_struct(cells.type) else cells


def arrow_stream(location: str) -> ArrowStream:
    """Open a stream; some dozens stay open.

    Raises:
        ValueError: the file is no stream of Arrow, is damaged, or is compressed.
        OSError: it is missing, or cannot be fetched.
    """
    return _opened(*regular_file(location))


@lru_cache(maxsize=_OPEN_FILES)
def _opened(path: str, size: int, device: int, inode: int, modified_ns: int) -> ArrowStream:
    import pyarrow as pa

    mapped, batches, used = pa.memory_map(path), [], 0
    if mapped.read(6) == b"ARROW1":
        raise ValueError("it is an Arrow file (Feather) and no stream; `save_to_disk` of `datasets` writes streams")
    mapped.seek(0)
    reader = pa.ipc.open_stream(mapped)
    for batch in reader:
        used += batch.get_total_buffer_size()
        if used > size:  # what is mapped takes no more than the file
            raise ValueError(
                "it is compressed, and its images are read at random; `datasets` saves without compression"
            )
        batch.validate(full=True)  # offsets in the file may lead anywhere
        batches.append(batch)
    return ArrowStream(reader.schema, batches)


class _Named(msgspec.Struct):
    filename: str


class _State(msgspec.Struct, rename=lambda name: f"_{name}"):
    data_files: list[_Named]
    indices_data_files: list[_Named] | None = None  # of early versions: which rows of the files are the set
    split: str | None = None


class _Splits(msgspec.Struct):
    splits: list[str]


def saved_files(folder: Path) -> list[str] | None:
    """Return the files of a dataset, or of all splits of one, that `save_to_disk` wrote; None = it is another folder.

    Raises:
        DataError: what the folder says of itself cannot be read, or is of an early version.
    """
    if (folder / _DICT).is_file():
        files: list[str] = []
        for split in _document(folder / _DICT, _Splits).splits:
            own = saved_files(folder / split) if _is_name(split) else None
            if own is None:
                raise DataError(f"{folder / _DICT} names {split!r}, which is no saved dataset; save the dataset anew")
            files += own
        return files
    if not (folder / _STATE).is_file():
        return None
    state = _document(folder / _STATE, _State)
    names = [one.filename for one in state.data_files]
    if not all(map(_is_name, names)) or state.indices_data_files:
        raise DataError(f"{folder / _STATE} does not name files beside it that are the set; save the dataset anew")
    return [str(folder.absolute() / name) for name in names]


def saved_split(location: str) -> str | None:
    """Return the split of a file that `save_to_disk` wrote."""
    folder = Path(location).parent
    if "://" in location or not (folder / _STATE).is_file():
        return None
    return folder.name if (folder.parent / _DICT).is_file() else _document(folder / _STATE, _State).split


def _document(path: Path, kind: type[_Read]) -> _Read:
    try:
        return msgspec.json.decode(read_text(path), type=kind)
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise DataError(f"{path} cannot be read: {error}; save the dataset anew") from error


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")
