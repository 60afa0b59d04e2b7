"""The rows as CSV, read back."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from report_runs import Plan, write_run

from rate.errors import UsageError
from rate.report.heads import VALUES, load_heads
from rate.report.html.page import write_report
from tests.report.html.test_report_html import Elements

EVIL = '</a>"\n, =1+1'


def test_rows_are_those_of_the_run_and_the_page_links_to_them(tmp_path: Path) -> None:
    heads = load_heads(str(write_run(tmp_path, Plan(count=20, heads=("zs", "lp"), errors=1, classes=("ant", EVIL)))))
    report = write_report(heads, tmp_path / "my page.html", rows=True)
    assert report.rows == tmp_path / "my page.csv"
    with report.rows.open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    stored = [("zs", row) for row in heads[0].rows().to_pylist()] + [("lp", row) for row in heads[1].rows().to_pylist()]
    assert list(read[0]) == ["name", *VALUES]
    by_key = {(row["name"], row["id"]): row for row in read}
    assert len(by_key) == len(read) == len(stored) == 42
    for name, row in stored:
        found = by_key[name, row["id"]]
        for column in ("label", "prediction", "error", "undefined_reason"):
            assert found[column] == (row[column] or "")
        assert found["valid"] == {None: "", True: "true", False: "false"}[row["valid"]]
        assert (float(found["probability"]) if found["probability"] else None) == pytest.approx(row["probability"])
    links = [one for one in Elements(report.path.read_text()).of("a") if "download" in one]
    assert [one["href"] for one in links] == ["my%20page.csv"]
    with pytest.raises(UsageError, match="--force"):
        write_report(heads, tmp_path / "my page.html", rows=True)
    (tmp_path / "my page.html").unlink()
    with pytest.raises(UsageError, match=r"my page\.csv exists"):
        write_report(heads, tmp_path / "my page.html", rows=True)
