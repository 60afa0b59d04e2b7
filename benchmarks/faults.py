"""Kills and damaged files in numbers: the long form of the tests in tests/faults, counted.

    python -m benchmarks.faults

Writes benchmarks/results/faults.json: kills of a real `rate eval`, samples lost or stored twice and verdicts that
differ afterwards; damaged inputs, of which how many crashed, hung, were reported, or were harmless.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.record import write

TESTS = ("tests/faults/test_kills.py", "tests/faults/test_fuzz.py")


def main() -> None:
    """Run the tests, short and long, and add up what they noted."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "figures"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", *TESTS]
        done = subprocess.run(command, env=os.environ | {"RATE_FAULTS_FIGURES": str(told)}, check=False)
        totals: Counter[str] = Counter()
        for line in told.read_text().splitlines():
            totals.update(json.loads(line))
    write("faults", {"tests_passed": done.returncode == 0, **totals})


if __name__ == "__main__":
    main()
