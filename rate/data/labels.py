"""Labels without a class, with suggestions, and the matching of labels with prompts."""

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
    """Return the labels that are none of the classes, sorted."""
    known = frozenset(classes)
    return tuple(sorted(label for label in labels if label not in known))


def with_suggestions(labels: Collection[str], classes: Collection[str]) -> str:
    """Name the first of some unknown labels with suggested classes, and the number of the others."""
    known = tuple(classes)
    shown = ", ".join(f"{label!r}{suggestion(label, known)}" for label in sorted(labels)[:SHOWN])
    more = len(labels) - SHOWN
    return shown + (f" and {more} more" if more > 0 else "")


@lru_cache(maxsize=4096)
def suggestion(label: str, classes: tuple[str, ...]) -> str:
    """Return ` (did you mean 'NAME'?)`, or an empty text if no class is similar to the label."""
    plain = {_plain(name): name for name in reversed(classes)}
    close = [_plain(label)] if _plain(label) in plain else difflib.get_close_matches(_plain(label), plain, n=1)
    return f" (did you mean {plain[close[0]]!r}?)" if close else ""


def _plain(name: str) -> str:
    """Lower the case, and replace word separators of file names by spaces."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
