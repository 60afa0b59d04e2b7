"""The files of a data set of the Hugging Face Hub that is named as a whole."""

from __future__ import annotations

from pathlib import PurePosixPath

from rate.data.storage.objects import storage
from rate.data.storage.retries import with_retries
from rate.errors import DataError

_FORMS = (".parquet", ".tar")
"""The suffixes of the files of a set; the first counts of which there are any."""

_FILES = (*_FORMS, ".arrow", ".csv", ".jsonl", ".gz", ".zst", ".zip")


def hub_files(url: str) -> list[str] | None:
    """Return the URLs of the files of a set, or of a folder of one; None = the URL names a file, or no set of the Hub.

    Raises:
        DataError: the set is missing, gated, without such files, or has them in several folders.
        OSError: the Hub does not answer.
    """
    if not url.startswith("hf://") or PurePosixPath(url).suffix.lower() in _FILES:
        return None

    def listed() -> tuple[str, list[str]]:
        filesystem, name = storage(url)
        return str(filesystem.resolve_path(name).unresolve()), [
            str(path) for path in filesystem.find(name, refresh=True)
        ]

    root, paths = with_retries(url, listed)
    for form in _FORMS:
        names = sorted(path.removeprefix(f"{root}/") for path in paths if path.endswith(form))
        folders = sorted({name.partition("/")[0] if "/" in name else "" for name in names})
        if len(folders) > 1:
            shown = ", ".join(folder or "the set's own" for folder in folders)
            raise DataError(f"{url} has {form} files in the folders {shown}; name one: hf://{root}/{folders[-1]}")
        if names:
            return [f"hf://{root}/{name}" for name in names]
    converted = (
        "" if "@" in root or root.count("/") > 2 else f"; the Hub converts sets: hf://{root}@refs/convert/parquet"
    )
    raise DataError(f"{url} has no Parquet and no tar shards{converted}")
