"""The numbers of a run with clusters, and what stands beside PT and IR."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from run_rows import row, run_json, write_parts

from rate.records import plain
from rate.runs.summary.summarise import HeadSummary, load_summary
from rate.statistics.intervals import MIN_CLUSTERS, score_interval
from rate.statistics.metrics import Counts

STATES = ["rr"] * 85 + ["rw"] * 15 + ["wr"] * 20 + ["ww"] * 20 + ["undefined_right"] * 8 + ["undefined_wrong"] * 2


def summary(folder: Path, clusters: Sequence[str | None], groups: Sequence[str] | None = None) -> HeadSummary:
    names = groups or ["g"] * len(STATES)
    rows = [
        row(f"s{k}", "lp", state, cluster=cluster, group=names[k])
        for k, (state, cluster) in enumerate(zip(STATES, clusters, strict=True))
    ]
    return load_summary(write_parts(folder, run_json(["lp"], len(rows)), [rows[::2], rows[1::2]])).heads["lp"]


def test_intervals_over_clusters_are_wider_and_values_are_the_same(tmp_path: Path) -> None:
    over = summary(tmp_path / "over", [f"c{k // 5}" for k in range(150)])
    samples = summary(tmp_path / "samples", [None] * 150)
    assert (over.clusters, samples.clusters) == (30, None)
    assert over.counts == samples.counts == Counts(85, 15, 20, 20, 8, 2)
    for one, other in (
        (over.accuracy, samples.accuracy),
        (over.judged_accuracy, samples.judged_accuracy),
        (over.pt.ratio, samples.pt.ratio),
        (over.ir.ratio, samples.ir.ratio),
    ):
        assert one.value == other.value
        assert other.interval == score_interval(other.value, other.denominator)
        assert one.high - one.low > 1.5 * (other.high - other.low)
    document = plain(over.document)
    assert document["pt"]["clusters"] == 20
    assert document["groups"]["g"]["pt"]["low"] == document["pt"]["low"] == over.pt.ratio.low
    other_rule = document["also"][0]["pt"]
    assert (other_rule["low"], other_rule["clusters"]) == (over.pt.ratio.low, 20), "it gives the same verdicts"


def test_of_few_clusters_samples_are_taken_as_independent(tmp_path: Path) -> None:
    found = summary(tmp_path / "run", [f"c{k % (MIN_CLUSTERS - 1)}" for k in range(150)])
    assert found.clusters == found.pt.ratio.clusters == MIN_CLUSTERS - 1
    assert found.pt.ratio.interval == score_interval(0.85, 100)


def test_groups_have_the_clusters_of_their_own_samples(tmp_path: Path) -> None:
    names = ["few" if k % 30 < 5 else "many" for k in range(150)]
    groups = summary(tmp_path / "run", [f"c{k % 30}" for k in range(150)], names).groups
    assert groups["few"].accuracy.clusters == 5
    assert groups["many"].accuracy.clusters == 25
    few = groups["few"].accuracy
    assert (few.low, few.high) == score_interval(few.value, few.denominator)


def test_the_accuracy_of_the_judged_and_the_bounds_of_pt(tmp_path: Path) -> None:
    found = summary(tmp_path / "run", [None] * 150)
    assert (found.judged_accuracy.numerator, found.judged_accuracy.denominator) == (100, 140)
    assert found.pt.bounds == pytest.approx((85 / 108, 93 / 108))
    assert found.ir.bounds is None
    document = plain(found.document)
    assert document["pt"]["bounds"] == pytest.approx([85 / 108, 93 / 108])
    assert document["judged_accuracy"]["value"] == pytest.approx(100 / 140)
