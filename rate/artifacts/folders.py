"""Folders of artifacts and checkpoints, whose JSON document lists the sha256 of every other file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rate.data.storage.local_file import is_file
from rate.errors import ArtifactError, UsageError
from rate.files import folder_instead, is_temporary, new_folder
from rate.outputs import require_new_folder
from rate.records import Document, read, read_json, schema_id

D = TypeVar("D", bound=Document)

PLANS = "plans"
_PLAN = re.compile(rf"{PLANS}/[0-9a-f]{{16}}\.(plan|json)")


def check_replaceable(out: Path, marker: str, force: bool) -> None:
    """Refuse an ``out`` that a new folder must not replace.

    Args:
        out: the path of the new folder.
        marker: the document in an older folder of the same kind.
        force: whether to replace such an older folder. Any other folder with content is never replaced.

    Raises:
        UsageError: ``out`` is a file, a folder with other content or without ``force``, or cannot be written.
        StorageError: the disk is full.
    """
    if not out.is_dir() or not any(out.iterdir()):
        require_new_folder("--out", out)
        return
    if not (out / marker).is_file():
        raise UsageError(f"--out {out} is not empty and has no {marker}, so it is not replaced; give a new folder")
    if not force:
        raise UsageError(f"--out {out} exists already; add --force to replace it, or give a new folder")
    if foreign := _foreign(out, marker):
        raise UsageError(
            f"--out {out} is not replaced: it holds {foreign}, which is not of `rate`; move it, or give a new folder"
        )


@contextmanager
def replacing(out: Path, marker: str, force: bool) -> Iterator[Path]:
    """Yield a draft folder beside ``out``, which is renamed when the block succeeds and deleted when it fails.

    Raises:
        UsageError: as `check_replaceable`.
        StorageError: the disk is full.
    """
    check_replaceable(out, marker, force)
    make = folder_instead if out.is_dir() and any(out.iterdir()) else new_folder
    with make(out) as draft:
        yield draft
        check_replaceable(out, marker, force)  # the folder may have changed during the block


def _foreign(folder: Path, marker: str) -> str | None:
    """Return a file of a folder that its document does not list, or a document of another origin."""
    try:
        document = read_json(folder / marker)
    except (OSError, ValueError):
        return f"a {marker} that cannot be read"
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, str) or not schema.startswith(f"rate.{Path(marker).stem}/"):
        return f"a {marker} of the schema {schema!r}"
    files = document.get("files")
    listed = {marker, *(files if isinstance(files, dict) else ())}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_plan = _PLAN.fullmatch(name) is not None or (name == PLANS and not path.is_symlink())
        if not (name in listed or is_plan or is_temporary(path.name)):
            return name
    return None


def digest_file(path: Path) -> str:
    """Compute the sha256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Map the files ``names`` of ``folder`` to their sha256, sorted by name."""
    return {name: digest_file(folder / name) for name in sorted(names)}


def canonical(document: Any) -> bytes:
    """Encode equal JSON values as equal bytes: sorted keys, no spaces, UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def read_document(folder: Path, name: str, kind: type[D]) -> D:
    """Read the document ``folder / name``.

    Raises:
        ArtifactError: missing, not JSON, of another schema, or malformed.
    """
    called = schema_id(kind).partition("/")[0].removeprefix("rate.")
    if not (folder / name).is_file():
        raise ArtifactError(f"{folder} is no {called}: it has no {name}; {_instead(folder, called)}")
    verb = "export" if called == "artifact" else "make"
    return read(folder / name, kind, ArtifactError, f"{verb} the {called} again")


def _instead(folder: Path, kind: str) -> str:
    """Suggest what to give instead of a folder of another kind."""
    if kind == "artifact" and (folder / "checkpoint.json").is_file():
        return f"it is a checkpoint; export it first: rate export {folder} --out ARTIFACT"
    if kind == "checkpoint" and (folder / "artifact.json").is_file():
        return "it is an artifact, exported already"
    return f"give the folder that `rate {'export' if kind == 'artifact' else 'finetune'}` wrote"


def verify(folder: Path, files: Mapping[str, Any]) -> None:
    """Compare every listed file with its recorded sha256.

    Raises:
        ArtifactError: a file is missing, lies outside ``folder``, or has changed; the message names it.
    """
    for name, expected in sorted(files.items()):
        path = folder / name
        if Path(name).name != name or "\0" in name:
            raise ArtifactError(
                f"{folder} lists the file {name!r}, which is not a plain name in this folder; malformed"
            )
        if not is_file(path):
            raise ArtifactError(f"{path} is listed and missing; copy the whole folder, or make it again")
        try:
            actual = digest_file(path)
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read ({error.strerror}); copy the folder again") from error
        if actual != expected:
            raise ArtifactError(
                f"{path} has changed: its sha256 is {actual[:12]}..., recorded is {str(expected)[:12]}...; "
                "make the folder again"
            )
