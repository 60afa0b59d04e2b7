"""Local copies of what is at URLs. Messages name the URL, which the user knows."""

from __future__ import annotations

from pathlib import Path

_urls: dict[str, str] = {}


def note_copy(folder: Path, url: str) -> None:
    """Note the URL of which a folder is a copy, for the messages of this process."""
    _urls[str(folder)] = url


def by_url(text: str) -> str:
    """Replace the folders of copies in a message by their URLs."""
    for folder, url in sorted(_urls.items(), reverse=True):  # a name before those that it begins with
        text = text.replace(folder, url)
    return text
