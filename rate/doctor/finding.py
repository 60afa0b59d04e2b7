"""One line of what `rate doctor` says, and the versions it says it of."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    topic: str
    found: str
    remark: str = ""  # what follows from it, or the cure


def installed(*names: str) -> str:
    """Version of the first of these distributions that is installed, or nothing."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""
