"""The files of a data set of the Hugging Face Hub that is named as a whole, or by one of its configurations.

A configuration (subset) is a folder, or what the head of the set's card lists under `configs`, as `datasets` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from rate.data.storage.objects import storage
from rate.data.storage.retries import with_retries
from rate.errors import DataError, need

_FORMS = (".parquet", ".tar")
"""The suffixes of the files of a set; the first counts of which there are any."""

_FILES = (*_FORMS, ".arrow", ".csv", ".jsonl", ".gz", ".zst", ".zip")
_CARD = "README.md"
_DEFAULT = "default"


def hub_files(url: str) -> list[str] | None:
    """Return the URLs of the files of a set, or of a folder of one; None = the URL names a file, or no set of the Hub.

    Raises:
        DataError: the set is missing, gated, without such files, or has several configurations and none is named.
        OSError: the Hub does not answer.
    """
    if not url.startswith("hf://") or PurePosixPath(url).suffix.lower() in _FILES:
        return None
    root, inside, names = _listed(url)
    place = f"{root}/{inside}" if inside else root
    below = [name for name in names if not inside or name.startswith(f"{inside}/")]
    configurations = _configurations(root) if _CARD in names and (not inside or not below) else {}
    if configurations:
        asked = inside or (_DEFAULT if _DEFAULT in configurations or len(configurations) == 1 else "")
        if asked not in configurations:
            shown = ", ".join(configurations)
            raise DataError(f"{url}: the set's configurations are {shown}; name one: hf://{root}/{max(configurations)}")
        patterns = configurations[asked]
        below = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    for form in _FORMS:
        files = [name for name in below if name.endswith(form)]
        folders = sorted({_folder(name, inside) for name in files})
        if not configurations and len(folders) > 1:
            shown = ", ".join(folder or "the set's own" for folder in folders)
            raise DataError(f"{url} has {form} files in the folders {shown}; name one: hf://{place}/{folders[-1]}")
        if files:
            return [f"hf://{root}/{name}" for name in files]
    converted = "" if "@" in root or inside else f"; the Hub converts sets: hf://{root}@refs/convert/parquet"
    raise DataError(f"{url} has no Parquet and no tar shards{converted}")


def _folder(name: str, inside: str) -> str:
    """Return the first folder of a file below the folder ``inside``; empty = it lies in that itself."""
    rest = name.removeprefix(f"{inside}/") if inside else name
    return rest.partition("/")[0] if "/" in rest else ""


def _listed(url: str) -> tuple[str, str, list[str]]:
    """Return the set with its revision, what the URL names in it, and the names of the files there, sorted.

    If there are none they are those of the whole set, as the URL may name a configuration.
    """

    def listed() -> tuple[str, str, list[str]]:
        filesystem, name = storage(url)
        place = filesystem.resolve_path(name)
        inside = str(place.path_in_repo)
        root = str(place.unresolve()).removesuffix(f"/{inside}" if inside else "")
        files = filesystem.find(name, refresh=True) or filesystem.find(root, refresh=True)
        return root, inside, [str(path) for path in files]

    root, inside, paths = with_retries(url, listed)
    return root, inside, sorted(path.removeprefix(f"{root}/") for path in paths)


def _configurations(root: str) -> dict[str, tuple[str, ...]]:
    """Map the configurations that the card of a set names to the patterns of their files; empty = it names none."""
    card = f"hf://{root}/{_CARD}"

    def read() -> str:
        filesystem, name = storage(card)
        return bytes(filesystem.cat_file(name)).decode("utf-8", "replace")

    yaml = need("yaml", "hub")
    head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", with_retries(card, read), re.DOTALL)
    try:
        value = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return {}
    listed = value.get("configs") if isinstance(value, dict) else None
    given = [one for one in listed or () if isinstance(one, dict) and "config_name" in one]
    named = {str(one["config_name"]): tuple(_patterns(one)) for one in given}
    default = next((str(one["config_name"]) for one in given if one.get("default") is True), None)
    return named if default is None or _DEFAULT in named else {_DEFAULT: named[default]} | named


def _patterns(one: Mapping[str, object]) -> Iterator[str]:
    folder = f"{str(one['data_dir']).strip('/')}/" if one.get("data_dir") else ""
    files = tuple(_texts(one.get("data_files")))
    yield from (f"{folder}{file}" for file in files or (["*"] if folder else [f"{one['config_name']}/*"]))


def _texts(value: object) -> Iterator[str]:
    """Yield the paths of `data_files`: one, a list, a list of splits with paths, or paths by split."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for one in [value["path"]] if "path" in value else value.values():
            yield from _texts(one)
