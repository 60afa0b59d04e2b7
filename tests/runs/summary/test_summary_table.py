"""What `rate show` prints of a head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_rows import MEASUREMENT, row, run_json, write_parts

from rate.runs.summary.summarise import load_summary
from rate.runs.summary.table import summary_table

STATES = ["rr"] * 60 + ["rw"] * 20 + ["wr"] * 15 + ["ww"] * 5 + ["undefined_right"] * 10


def shown(folder: Path, clusters: Sequence[str | None] = (None,) * 110, **rule: Any) -> list[str]:
    """The lines, without spaces at their ends."""
    rows = [row(f"s{k}", "lp", state, cluster=clusters[k]) for k, state in enumerate(STATES)]
    run = run_json(["lp"], len(rows), rule=MEASUREMENT.rule() | rule)
    console = Console(width=140)
    with console.capture() as capture:
        console.print(summary_table(load_summary(write_parts(folder, run, [rows]))))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_ir_stands_beside_the_accuracy_of_the_judged(tmp_path: Path) -> None:
    words = [line.split() for line in shown(tmp_path / "run")]
    assert ["IR", "0.800"] in [line[:2] for line in words]
    assert ["accuracy,", "judged", "0.800"] in [line[:3] for line in words]
    assert ["accuracy", "0.818"] in [line[:2] for line in words]


def test_pt_has_its_bounds_over_the_undefined(tmp_path: Path) -> None:
    said = (
        "PT is 0.667 if all 10 undefined correct predictions were on invalid evidence, and 0.778 if all were on valid"
    )
    assert said in shown(tmp_path / "run")


@pytest.mark.parametrize(
    ("size", "units"),
    [
        (5, "over 22 clusters"),
        (25, "over samples (5 clusters, fewer than 10)"),
        (
            10,
            "over 11 clusters; of PT over samples (8 clusters, fewer than 10)"
            "; of IR over samples (8 clusters, fewer than 10)",
        ),
    ],
)
def test_the_units_of_intervals_are_named(tmp_path: Path, size: int, units: str) -> None:
    assert f"intervals are {units}" in shown(tmp_path / "run", [f"c{k // size}" for k in range(110)])


def test_without_clusters_no_units_are_named(tmp_path: Path) -> None:
    assert not any(line.startswith("intervals") for line in shown(tmp_path / "run"))


@pytest.mark.parametrize(
    ("explained", "words"),
    [
        ("label", "wrong with valid evidence for the true label 15, with invalid 5"),
        ("prediction", "wrong on valid 15, wrong on invalid 5"),
    ],
)
def test_the_evidence_of_wrong_predictions_is_that_for_the_explained_class(
    tmp_path: Path, explained: str, words: str
) -> None:
    assert f"right on valid evidence 60, right on invalid 20, {words}" in shown(tmp_path / "run", explained=explained)
