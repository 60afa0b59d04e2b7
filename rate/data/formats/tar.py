"""WebDataset shards: neighbouring members with one key are a row. One pass reads the headers and no image."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import PurePosixPath
from tarfile import TarError

from rate.data.formats.manifest_files import CORNERS, QUESTION, Problem, Raw, parse_json
from rate.data.formats.object_boxes import Numbers, is_corner_and_size, numbers_of
from rate.data.formats.object_rows import ObjectRows, name_of, value_of
from rate.data.formats.tar_headers import Member, members
from rate.data.formats.tar_index import indexed
from rate.data.make.index import SUFFIXES
from rate.data.manifest import ParsedRow
from rate.data.storage.container import Container, container_stamp, open_container, tar_place
from rate.data.storage.limits import REMOTE_READS, max_bytes
from rate.data.storage.location import Folder, InPlace, read_bytes
from rate.data.storage.sparse_copy import Recorded, sparse_copy
from rate.errors import DataError
from rate.reading import USUAL, Reading

TEXT_BYTES = 1 << 20
"""The largest `.json` or `.cls` that is read, bytes."""

_FIELDS = ("id", *CORNERS, *QUESTION, "split", "group", "cluster")
_SHOWN = 5
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


@dataclass(slots=True)
class _Group:
    key: str
    columns: Mapping[str, str]  # suffixes of members and fields of .json by other names
    files: dict[str, Member] = field(default_factory=dict)  # "image" | "mask" | suffix of a text -> member
    others: list[str] = field(default_factory=list)  # some suffixes that are ignored
    refusals: list[str] = field(default_factory=list)  # some refusals; each starts with a member's name

    def take(self, member: Member, suffix: str) -> None:
        """Add a member, or the reason why it cannot be used."""
        role = self._role(suffix)
        if role == "txt" and (role in self.files or member.size > TEXT_BYTES):
            role = None  # no row needs it
        refusal = member.refusal
        if role is None and refusal is None:
            if len(self.others) < _SHOWN:
                self.others.append(suffix)
            return
        if refusal is None and role in self.files:
            refusal = f"comes after {self.files[role].name!r}; a sample has one {role}, which --columns {role}=... says"
        if refusal is None and member.size > _limit(role):
            refusal = f"has {member.size:,} bytes, the limit is {_limit(role):,}"
        if role is not None and refusal is None:
            self.files[role] = member
        elif len(self.refusals) < _SHOWN:
            self.refusals.append(f"{member.name[:200]!r} {refusal}")

    def _role(self, suffix: str) -> str | None:
        if suffix == self.columns.get("mask", "mask.png"):
            return "mask"
        said = self.columns.get("image")
        if suffix == said or (said is None and f".{suffix}" in SUFFIXES):
            return "image"
        return suffix if suffix in ("json", "cls", "txt") or suffix in self.columns.values() else None

    @property
    def is_sample(self) -> bool:
        """Whether the group is meant as a sample; a README is not."""
        pictures = any(PurePosixPath(f"x.{other}").suffix in SUFFIXES for other in self.others)
        return bool(self.files.keys() - {"txt"} or self.refusals or pictures)


def tar_rows(shards: Sequence[str], reading: Reading = USUAL, headers: bool = False) -> Iterator[ParsedRow]:
    """Yield the samples of tar shards, numbered by the rows of all of them; a malformed row is a problem.

    A row is an image (`.jpg`, `.png`, `.webp`, ...) with `.mask.png` or boxes, and a label: `.cls` holds the name of
    the class or a number that the user names, `.json` an object of `label`, `boxes`, `id`, `split`, `group`,
    `cluster`, `question`, `options`; without a label it is a caption, `caption` of `.json` or `.txt`. A key ends at the
    first dot of a name.

    Args:
        shards: absolute paths or URLs.
        reading: suffixes and fields by other names, what boxes are, and the names of numbered classes.
        headers: whether the images of remote shards stay there where parts can be read; else each is fetched whole.

    Raises:
        DataError: a shard is missing, cannot be fetched, or is compressed; or nothing says what the boxes are.
    """
    source = _Shards(shards, reading)
    row = 0
    remote = all("://" in shard for shard in shards)
    for shard, (container, place) in _opened(shards, source.columns if headers and remote else None):
        try:
            for group in _groups(container, source.columns):
                row += 1
                yield from source.samples(group, row, shard, container, place)
        except (TarError, OSError, EOFError) as error:
            row += 1
            lost = "the samples from there on are lost: write the shard anew"
            yield ParsedRow(row, None, None, (Problem(row, None, None, f"{shard} cannot be read {error}; {lost}"),))


def _opened(shards: Sequence[str], columns: Mapping[str, str] | None) -> Iterator[tuple[str, tuple[Container, Folder]]]:
    """Open archives in their order; where their headers alone are read, with many requests, several at a time."""
    if columns is None:
        yield from ((shard, _open(shard)) for shard in shards)
        return
    with ThreadPoolExecutor(REMOTE_READS) as threads:
        coming = deque((shard, threads.submit(_open, shard, columns)) for shard in shards[:REMOTE_READS])
        try:
            for following in (*shards[REMOTE_READS:], *[None] * len(coming)):
                shard, opened = coming.popleft()
                yield shard, opened.result()
                if following is not None:
                    coming.append((following, threads.submit(_open, following, columns)))
        finally:
            threads.shutdown(cancel_futures=True)


def _open(shard: str, columns: Mapping[str, str] | None = None) -> tuple[Container, Folder]:
    """Open the archive with the folder of its locations; the stamp is taken before anything is read.

    With ``columns`` it is remote, and what `tar_rows` reads is all that is fetched, if parts can be.
    """
    try:
        copied = None
        if columns is not None:
            copied = sparse_copy(shard, partial(_read_rows, columns=columns), repr(sorted(columns.items())))
        stamp, container = (
            (container_stamp(shard), open_container(shard))
            if copied is None
            else (copied[0], Container(copied[1], copied[0].size))
        )
    except FileNotFoundError as error:
        raise DataError(f"the shard {shard} does not exist") from error
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"the shard {shard} cannot be read: {error}") from error
    head = container.read(0, min(8, container.size))
    for magic, tool in _COMPRESSED.items():
        if head.startswith(magic):
            raise DataError(f"the shard {shard} is compressed, and images are read at random: {tool} it first")
    return container, InPlace(stamp)


def _read_rows(container: Recorded, columns: Mapping[str, str]) -> None:
    """Read what `tar_rows` reads of an archive."""
    container.hold([*indexed(container)])
    container.read(0, min(8, container.size))
    with suppress(TarError, EOFError):  # whoever reads the copy comes upon it, too
        for group in _groups(container, columns):
            with suppress(ValueError):
                _cells(group, container)


def _groups(container: Container, columns: Mapping[str, str]) -> Iterator[_Group]:
    """Yield neighbours with one key. A group before a truncation is not yielded, since it may lack a member."""
    group: _Group | None = None
    for member in members(container):
        folder, _, name = member.name.rpartition("/")
        stem, _, suffix = name.partition(".")
        if not stem and member.refusal is None:  # hidden files, such as those of macOS
            continue
        key = f"{folder}/{stem}" if folder else stem
        if group is None or group.key != key:
            if group is not None and group.is_sample:
                yield group
            group = _Group(key, columns)
        group.take(member, suffix.lower())
    if group is not None and group.is_sample:
        yield group


def _limit(role: str | None) -> int:
    return max_bytes() if role in (None, "image", "mask") else TEXT_BYTES


@dataclass(frozen=True)
class _Shards:
    shards: Sequence[str]
    reading: Reading

    @cached_property
    def columns(self) -> Mapping[str, str]:
        return dict(self.reading.columns) if isinstance(self.reading.columns, Mapping) else {}

    @cached_property
    def rows(self) -> ObjectRows:
        """What the rows have: `label`, and what `boxes` are."""
        boxes, category, names = (
            self.columns.get("boxes", "boxes"),
            self.columns.get("category"),
            self.reading.names or (),
        )
        has_size = None
        if "boxes" in self.columns or self.reading.box_format is not None:
            source = f"{self.shards[0]}{' and others' if len(self.shards) > 1 else ''}"
            has_size = is_corner_and_size(self._boxes(boxes), self.reading.box_format, boxes, source)
        label = None if category is not None and "label" not in self.columns else "label"
        return ObjectRows(label, boxes, category, has_size, names, names)

    def samples(self, group: _Group, row: int, shard: str, container: Container, place: Folder) -> Iterator[ParsedRow]:
        """Yield the samples of a row."""
        refusals, raw, cells = list(group.refusals), Raw(), dict[str, object]()
        try:
            cells = _cells(group, container)
            cells["label"] = self._label(group, cells)
            raw = {name: value_of(cells, self.columns.get(name, name)) for name in (*_FIELDS, "caption")}
            if (
                self.rows.label is not None
                and cells["label"] is None
                and raw["caption"] is None
                and "txt" in group.files
            ):
                raw["caption"] = _text(group.files["txt"], container)
        except ValueError as error:
            refusals.append(str(error))
        if "image" not in group.files:
            others = f"; a key ends at the first dot, and it has {group.others}" if group.others else ""
            refusals.append(f"has no image beside it: the members of a sample follow each other{others}")
        if refusals:
            key = group.key.encode("utf-8", "backslashreplace").decode()  # a name in an archive need not be valid text
            problems = (Problem(row, key, None, f"{shard}: {refusal}") for refusal in refusals)
            yield ParsedRow(row, None, None, tuple(problems))
            return
        if raw["id"] is None:
            raw["id"] = group.key
        for role in ("image", "mask"):
            if role in group.files:
                raw[role] = tar_place(group.files[role].offset, group.files[role].size, shard)
        yield from self.rows.samples(raw, cells, row, place)

    def _label(self, group: _Group, cells: Mapping[str, object]) -> object:
        """Return the label of a row; a number in a text has a name or is refused.

        Raises:
            ValueError: starts with the name of the member.
        """
        said = self.columns.get("label")
        suffix = said or "cls"
        told = value_of(cells, said or "label") if said is None or said not in group.files else None
        if suffix not in group.files:
            return told
        name, text = group.files[suffix].name, str(cells[suffix]).strip()
        if text.isdigit() and not self.rows.label_names:
            cure = "name the numbers with --label-names FILE"
            raise ValueError(f"{name!r} holds the number {text}, not the name of a class; {cure}")
        values = int(text) if text.isdigit() else text, told
        try:
            label, other = (name_of(one, self.rows.label_names) for one in values)
        except ValueError as error:
            raise ValueError(f"{name!r} {error}") from error
        if other is not None and other != label:
            raise ValueError(f"{name!r} says {label!r}, and the .json says {other!r}")
        return label

    def _boxes(self, name: str) -> Iterator[tuple[int, Numbers, Callable[[], bytes]]]:
        """Yield row, numbers and image of every box of the shards."""
        row = 0
        for shard in self.shards:
            container, _ = _open(shard)
            try:
                for group in _groups(container, self.columns):
                    row += 1
                    if (image := group.files.get("image")) is not None:
                        read = partial(read_bytes, tar_place(image.offset, image.size, shard))
                        for box in numbers_of(value_of(_cells(group, container), name)):
                            yield row, box, read
            except (TarError, OSError, EOFError, ValueError):  # the reading of the rows reports it
                return


def _cells(group: _Group, container: Container) -> dict[str, object]:
    """Return the fields of the `.json` of a group, and its texts by their suffixes.

    Raises:
        ValueError: starts with the name of the member.
    """
    cells: dict[str, object] = {}
    for role, member in group.files.items():
        if role == "json":
            cells = _json(_text(member, container), member.name) | cells
        elif role not in ("image", "mask") and (role != "txt" or "txt" in group.columns.values()):
            cells[role] = _text(member, container)
    return cells


def _text(member: Member, container: Container) -> str:
    try:
        return container.read(member.offset, member.size).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{member.name!r} is not text in UTF-8: {error}") from error


def _json(text: str, name: str) -> Raw:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{name!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f'{name!r} must be an object like {{"label": ...}}, got {text.strip()[:60]}')
    return value
