"""The gate over every shape of set: a run passes against itself, and a plain regression fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gate_runs import states, write_run

from rate.cli.main import run
from rate.statistics.intervals import MIN_CLUSTERS, Units

SAMPLES = 600
CHECKS = '[[check]]\nmetric = "accuracy"\nmax_drop = 0.02\n'
BY_GROUP = CHECKS + '[[check]]\nmetric = "accuracy"\nmax_drop = 0.5\nslice = "group"\nuse = "value"\n'


def spread(prefix: str, count: int) -> list[str | None]:
    """The names of ``count`` groups or clusters over the samples; of none, nothing."""
    return [f"{prefix}{k % count}" if count else None for k in range(SAMPLES)]


@pytest.mark.parametrize(
    ("groups", "clusters"),
    [(0, 0), (0, 2), (0, 9), (0, 10), (0, 500), (2, 2), (9, 10), (10, 9), (500, 0), (500, 500)],
)
def test_a_run_passes_against_itself_and_a_plain_regression_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], groups: int, clusters: int
) -> None:
    columns = {"groups": spread("g", groups), "clusters": spread("c", clusters)}
    right, lost = (["rr"] * SAMPLES, ["rr" if k % 10 == k // 60 % 10 else "ww" for k in range(SAMPLES)])
    assert lost.count("rr") == SAMPLES // 10
    before = write_run(tmp_path / "before", {"ft": right}, **columns)
    after = write_run(tmp_path / "after", {"ft": lost}, **columns)
    policy = tmp_path / "gate.toml"
    policy.write_text(BY_GROUP if groups else CHECKS)

    def gate(candidate: Path) -> int:
        return run(["gate", str(candidate), "--policy", str(policy), "--baseline", str(before), "--json"])

    assert gate(before) == 0
    capsys.readouterr()
    assert gate(after) == 1
    found = json.loads(capsys.readouterr().out)
    first = found["checks"][0]
    assert (first["state"], first["candidate"], first["baseline"]) == ("fail", 0.1, 1.0)
    assert first["high"] < -0.5
    assert (first["units"], first["clusters"]) == (
        "clusters" if clusters >= MIN_CLUSTERS else "samples",
        clusters or None,
    )
    assert any(f"intervals of drops are {Units(clusters or None)}" in text for text in found["notices"])
    assert len(found["checks"]) == 1 + groups


def test_the_small_set_of_two_groups_that_once_passed_any_model(tmp_path: Path) -> None:
    """60 samples in 2 groups, 54 of 60 right predictions lost."""
    groups = [f"g{k % 2}" for k in range(60)]
    before = write_run(tmp_path / "before", {"ft": states(rr=60)}, groups=groups, clusters=groups)
    after = write_run(tmp_path / "after", {"ft": states(rr=6, ww=54)}, groups=groups, clusters=groups)
    policy = tmp_path / "gate.toml"
    policy.write_text(CHECKS.replace("0.02", "0.1"))
    for candidate, code in ((before, 0), (after, 1)):
        assert run(["gate", str(candidate), "--policy", str(policy), "--baseline", str(before)]) == code
