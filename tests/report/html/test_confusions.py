"""The commonest confusions, against a count by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from report_runs import Plan, write_run

from rate.report.heads import load_heads
from rate.report.html.confusions import confusions
from rate.report.html.page import write_report
from tests.report.html.test_report_html import Elements

PLAN = Plan(count=70, heads=("zs", "lp"), errors=2, classes=("ant", "bee", "cow", "<dog>"))


def test_confusions_are_those_of_the_rows(tmp_path: Path) -> None:
    heads = load_heads(str(write_run(tmp_path, PLAN)))
    wrong, valid = Counter(), Counter()
    for row in heads[0].rows().to_pylist():
        if row["correct"] is False:
            wrong[row["label"], row["prediction"]] += 1
            valid[row["label"], row["prediction"]] += row["valid"] is True
    expected = sorted(wrong, key=lambda pair: (-wrong[pair], pair))
    shown = confusions(heads)
    assert [(one.label, one.prediction) for one in shown] == expected
    assert [one.counts for one in shown] == [((wrong[pair], valid[pair]),) * 2 for pair in expected]
    assert confusions(heads, most=2) == shown[:2]
    words = Elements(write_report(heads, tmp_path / "report.html").path.read_text()).words
    [label, prediction] = expected[0]
    count = f"{wrong[expected[0]]} ({valid[expected[0]]} valid)"
    assert f"{label} → {prediction} {count} {count}" in words


def test_without_a_wrong_prediction_there_are_none(tmp_path: Path) -> None:
    heads = load_heads(str(write_run(tmp_path, Plan(count=4, quadrants=("rr",)))))
    assert confusions(heads) == []
    assert "confusions" not in Elements(write_report(heads, tmp_path / "report.html").path.read_text()).words
