"""How many cores this process may use; a runtime's own guess ignores affinity and containers."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores in this process's affinity mask where the system has one, else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
