"""One line of what `rate doctor` says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    topic: str
    found: str
    remark: str = ""  # what follows from it, or the cure
