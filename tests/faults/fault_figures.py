"""What the fault tests found, as lines of JSON for benchmarks/faults.py."""

from __future__ import annotations

import json
import os
from pathlib import Path


def note(**figures: int) -> None:
    """Add a line to the file that RATE_FAULTS_FIGURES names, if it names one."""
    if told := os.environ.get("RATE_FAULTS_FIGURES"):
        with Path(told).open("a") as file:
            file.write(json.dumps(figures) + "\n")
