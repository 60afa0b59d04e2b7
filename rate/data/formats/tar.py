"""WebDataset shards: neighbouring members with one key are a sample. One pass reads the headers and no image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from tarfile import TarError

from rate.data.formats.manifest_files import CORNERS, Problem, Raw, parse_json
from rate.data.formats.tar_headers import Member, members
from rate.data.make.index import SUFFIXES
from rate.data.manifest import ParsedRow, sample_from_row
from rate.data.storage.container import Container, container_stamp, open_container, tar_place
from rate.data.storage.limits import max_bytes
from rate.data.storage.location import Folder, InPlace
from rate.errors import DataError

TEXT_BYTES = 1 << 20
"""The largest `.json` or `.cls` that is read, bytes."""

_FIELDS = ("id", "label", "boxes", *CORNERS, "split", "group", "cluster")
_SHOWN = 5
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


@dataclass(slots=True)
class _Group:
    key: str
    files: dict[str, Member] = field(default_factory=dict)  # "image" | "mask" | "json" | "cls" -> member
    others: list[str] = field(default_factory=list)  # some suffixes that are ignored
    refusals: list[str] = field(default_factory=list)  # some refusals; each starts with a member's name

    def take(self, member: Member, suffix: str) -> None:
        """Add a member, or the reason why it cannot be used."""
        role = _role(suffix)
        refusal = member.refusal
        if role is None and refusal is None:
            if len(self.others) < _SHOWN:
                self.others.append(suffix)
            return
        if refusal is None and role in self.files:
            refusal = f"comes after {self.files[role].name!r}; a sample has one {role}"
        if refusal is None and member.size > _limit(role):
            refusal = f"has {member.size:,} bytes, the limit is {_limit(role):,}"
        if role is not None and refusal is None:
            self.files[role] = member
        elif len(self.refusals) < _SHOWN:
            self.refusals.append(f"{member.name[:200]!r} {refusal}")

    @property
    def is_sample(self) -> bool:
        """Whether the group is meant as a sample; a README is not."""
        pictures = any(PurePosixPath(f"x.{other}").suffix in SUFFIXES for other in self.others)
        return bool(self.files or self.refusals or pictures)


def tar_rows(shards: Iterable[str]) -> Iterator[ParsedRow]:
    """Yield the samples of tar shards, numbered through all of them; a malformed sample is a problem.

    A sample is an image (`.jpg`, `.png`, `.webp`, ...) with `.mask.png` or boxes, and a label: `.cls` holds the name of
    the class, `.json` an object of `label`, `boxes`, `id`, `split`, `group`, `cluster`. A key ends at the first dot of
    a name.

    Args:
        shards: absolute paths or URLs.

    Raises:
        DataError: a shard is missing, cannot be fetched, or is compressed.
    """
    row = 0
    for shard in shards:
        container, place = _open(shard)
        try:
            for group in _groups(container):
                row += 1
                yield _parsed(group, row, shard, container, place)
        except (TarError, OSError, EOFError) as error:
            row += 1
            lost = "the samples from there on are lost: write the shard anew"
            yield ParsedRow(row, None, None, (Problem(row, None, None, f"{shard} cannot be read {error}; {lost}"),))


def _open(shard: str) -> tuple[Container, Folder]:
    """Open the archive with the folder of its locations; the stamp is taken before anything is read."""
    try:
        stamp = container_stamp(shard)
        container = open_container(shard)
    except FileNotFoundError as error:
        raise DataError(f"the shard {shard} does not exist") from error
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"the shard {shard} cannot be read: {error}") from error
    head = container.read(0, min(8, container.size))
    for magic, tool in _COMPRESSED.items():
        if head.startswith(magic):
            raise DataError(f"the shard {shard} is compressed, and images are read at random: {tool} it first")
    return container, InPlace(stamp)


def _groups(container: Container) -> Iterator[_Group]:
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
            group = _Group(key)
        group.take(member, suffix.lower())
    if group is not None and group.is_sample:
        yield group


def _role(suffix: str) -> str | None:
    if suffix in ("json", "cls"):
        return suffix
    if suffix == "mask.png":
        return "mask"
    return "image" if f".{suffix}" in SUFFIXES else None


def _limit(role: str | None) -> int:
    return TEXT_BYTES if role in ("json", "cls") else max_bytes()


def _parsed(group: _Group, row: int, shard: str, container: Container, place: Folder) -> ParsedRow:
    refusals = list(group.refusals)
    raw: Raw = {}
    try:
        raw = _fields(group, container)
    except ValueError as error:
        refusals.append(str(error))
    if "image" not in group.files:
        others = f"; a key ends at the first dot, and it has {group.others}" if group.others else ""
        refusals.append(f"has no image beside it: the members of a sample follow each other{others}")
    if refusals:
        key = group.key.encode("utf-8", "backslashreplace").decode()  # a name in an archive need not be valid text
        problems = (Problem(row, key, None, f"{shard}: {refusal}") for refusal in refusals)
        return ParsedRow(row, None, None, tuple(problems))
    for role in ("image", "mask"):
        if role in group.files:
            raw[role] = tar_place(group.files[role].offset, group.files[role].size, shard)
    return sample_from_row(raw, row, place)


def _fields(group: _Group, container: Container) -> Raw:
    """Parse the texts of a group.

    Raises:
        ValueError: starts with the name of the member.
    """
    raw: Raw = {"id": group.key}
    if "json" in group.files:
        value = _json(_text(group.files["json"], container), group.files["json"].name)
        raw |= {name: value[name] for name in _FIELDS if value.get(name) is not None}
    if "cls" in group.files:
        name = group.files["cls"].name
        label = _text(group.files["cls"], container).strip()
        if label.isdigit():
            raise ValueError(f"{name!r} holds the number {label}, not the name of a class; write the name")
        if raw.setdefault("label", label) != label:
            raise ValueError(f"{name!r} says {label!r}, and the .json says {raw['label']!r}")
    return raw


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
