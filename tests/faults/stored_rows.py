"""The rows of a run beside those of an uninterrupted one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from rate.runs.parts import read_rows
from rate.runs.run_document import read_run

VERDICT = ("label", "prediction", "correct", "valid", "undefined_reason", "forwards")
MEASURED = ("rma_positive", "rma_minmax", "ceiling", "floor", "area")


@dataclass(frozen=True)
class Differences:
    """How a run differs from the whole one."""

    lost: int
    twice: int
    differing: int  # verdicts

    @property
    def any(self) -> bool:
        return bool(self.lost or self.twice or self.differing)


def stored(folder: Path) -> list[dict]:
    """All rows, in the order of ids."""
    rows = read_rows(folder, read_run(folder)).to_pylist()
    return sorted(rows, key=lambda row: (row["id"], row["head"]))


def differences(whole: Path, folder: Path) -> Differences:
    """Rows of ``folder`` that are missing, there twice, or other than in ``whole``."""
    expected = {(row["id"], row["head"]): row for row in stored(whole)}
    rows = stored(folder)
    counts = Counter((row["id"], row["head"]) for row in rows)
    lost = sum(key not in counts for key in expected)
    differing = sum(not _same(row, expected.get((row["id"], row["head"]))) for row in rows)
    return Differences(lost, sum(count > 1 for count in counts.values()), differing)


def _same(row: dict, other: dict | None) -> bool:
    return (
        other is not None
        and row["error"] == other["error"]
        and all(row[name] == other[name] for name in VERDICT)
        and all(row[name] == pytest.approx(other[name], abs=1e-5) for name in MEASURED if row["error"] is None)
    )
