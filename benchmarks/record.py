"""One JSON file a benchmark: the figures, with the machine and the commit they belong to."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from rate.backends.process import usable_cores
from rate.machine import processor, versions

RESULTS = Path(__file__).parent / "results"


def write(name: str, figures: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write ``figures`` to <name>.json in ``folder`` and print them."""
    document = {
        "benchmark": name,
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "machine": {"processor": processor(), "cores": usable_cores()},
        "versions": versions(),
        "figures": figures,
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    print(f"written to {path}")
    return path


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
