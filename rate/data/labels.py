"""Labels that no class has: which ones, what was probably meant, and how labels and prompts come together."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from functools import lru_cache

SHOWN = 5
CURE = (
    "labels must be class names of the artifact, see `rate inspect`: rename them in the set, or export with --classes "
    "FILE, a line `LABEL<TAB>NAME` for each class, where a prompt is to say another name than the label"
)


def unknown_labels(labels: Collection[str], classes: Collection[str]) -> tuple[str, ...]:
    """The labels that no class has, sorted."""
    known = frozenset(classes)
    return tuple(sorted(label for label in labels if label not in known))


def spelled_out(labels: Collection[str], classes: Collection[str]) -> str:
    """The first of some unknown labels, each with the class that was probably meant, and how many more there are."""
    known = tuple(classes)
    shown = ", ".join(f"{label!r}{suggestion(label, known)}" for label in sorted(labels)[:SHOWN])
    more = len(labels) - SHOWN
    return shown + (f" and {more} more" if more > 0 else "")


@lru_cache(maxsize=4096)
def suggestion(label: str, classes: tuple[str, ...]) -> str:
    """` (did you mean 'NAME'?)`, or nothing where no class is like the label."""
    plain = {_plain(name): name for name in reversed(classes)}
    close = [_plain(label)] if _plain(label) in plain else difflib.get_close_matches(_plain(label), plain, n=1)
    return f" (did you mean {plain[close[0]]!r}?)" if close else ""


def _plain(name: str) -> str:
    """Without case, and with spaces for what stands between words in names of files."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
