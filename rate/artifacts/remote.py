"""Local copies of artifacts in remote storage, by the digest of their document, which has the digests of all files."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from rate.artifacts.folders import read_document
from rate.artifacts.records import ArtifactDocument
from rate.data.storage.cache import cache_folder, use
from rate.data.storage.remote_cache import alone, fetched
from rate.errors import ArtifactError
from rate.files import new_folder


def fetched_artifact(url: str, document: str) -> Path:
    """Return the local copy of the artifact at ``url``, and fetch it if there is none; its files are not verified.

    Args:
        url: the folder of the artifact.
        document: the name of the artifact's document.

    Raises:
        ArtifactError: a file is missing or cannot be fetched, or the document is malformed.
    """
    try:
        digest = hashlib.sha256(fetched(f"{url}/{document}").read_bytes()).hexdigest()[:40]
        folder = cache_folder() / "artifacts" / digest
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone(folder.with_suffix(".lock")):
            if not folder.exists():
                with new_folder(folder) as draft:
                    _link(f"{url}/{document}", draft / document)
                    for name in read_document(draft, document, ArtifactDocument).files:
                        if Path(name).name == name:  # others are refused when the artifact is verified
                            _link(f"{url}/{name}", draft / name)
        use(folder)
    except FileNotFoundError as error:
        raise ArtifactError(f"{url} is no whole artifact: {error} does not exist; copy the whole folder") from error
    except (OSError, ImportError, ValueError) as error:
        raise ArtifactError(f"the artifact {url} cannot be fetched: {error}") from error
    return folder


def _link(url: str, path: Path) -> None:
    """Place a fetched file; a link takes no room where both are on one file system."""
    copy = fetched(url)
    try:
        os.link(copy, path)
    except OSError:
        shutil.copyfile(copy, path)
