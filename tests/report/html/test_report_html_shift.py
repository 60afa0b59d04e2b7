"""Curves over severity in the report of a run that lies in a grid."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from report_runs import Plan, write_run

from rate.records import write
from rate.report.heads import load_heads
from rate.report.html.charts import HEIGHT, curves
from rate.report.html.page import write_report
from rate.report.html.shift import shift_of
from rate.runs.summary.document import MetricRecord
from rate.statistics.metrics import RatioRecord
from rate.studies.corruption_grid import CellHead, CellRecord, GridDocument, HeadMeans, MeanOf, MeanRecord


def mean(accuracy: float | None, pt: float | None = 0.5, ir: float | None = 0.25) -> MeanRecord:
    return MeanRecord(2, *(MeanOf(share, share, share, 2) for share in (accuracy, pt, ir, None)))


def cell(corruption: str | None, severity: int, heads: list[str]) -> CellRecord:
    metrics = [MetricRecord(share, None, None, 9, 10, *([None] * 7)) for share in (0.5, 0.25)]
    head = CellHead(10, 0, 0, 0, RatioRecord(0.9, None, None, 9, 10, None), *metrics, None)
    name = "clean" if corruption is None else f"{corruption}-{severity}"
    return CellRecord(name, corruption, severity, "complete", dict.fromkeys(heads, head))


def write_grid(folder: Path, heads: list[str], clean: bool = True) -> None:
    means = HeadMeans(
        mean=mean(0.6),
        by_severity={"1": mean(0.8), "3": mean(0.6, None), "5": mean(0.4)},
        by_corruption={"fog": mean(0.6), "snow": mean(0.6)},
    )
    runs = (cell("fog", 3, heads), *((cell(None, 0, heads),) if clean else ()))
    write(folder / "grid.json", GridDocument("complete", runs, dict.fromkeys(heads, means)))


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write_run(tmp_path / "grid", Plan(), "clean")


def test_values_and_lines_are_those_of_the_grid(clean):
    heads = load_heads(str(clean))
    assert shift_of(heads[0]) is None
    write_grid(clean.parent, [head.head for head in heads])
    shift = shift_of(heads[0])
    assert shift is not None
    assert [(name, row[0]) for name, row in shift.rows] == [("clean", 0.9), ("1", 0.8), ("3", 0.6), ("5", 0.4)]
    assert shift.corruptions == ("fog", "snow")
    accuracy, pt, _ = shift.lines
    points = np.array([[float(n) for n in point.split()] for point in re.split("[ML]", accuracy.path)[1:]])
    assert len(points) == 4
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) > 0).all()  # accuracy falls, y grows downwards
    assert points[1, 0] - points[0, 0] == pytest.approx((points[3, 0] - points[1, 0]) / 4, abs=0.1)
    assert pt.path.count("M") == 2  # undefined at severity 3


def test_the_page_shows_them_for_a_run_of_the_grid_alone(clean, tmp_path):
    write_grid(clean.parent, [head.head for head in load_heads(str(clean))], clean=False)
    write_report(load_heads(str(clean)), tmp_path / "without.html", max_samples=0)
    write_grid(clean.parent, [head.head for head in load_heads(str(clean))])
    write_report(load_heads(str(clean)), tmp_path / "with.html", max_samples=0)
    assert "Under 2 corruptions" not in (tmp_path / "without.html").read_text()
    page = (tmp_path / "with.html").read_text()
    assert "Under 2 corruptions" in page
    assert "Unweighted means over fog, snow" in page


@pytest.mark.parametrize("ends", [(0.5, 0.5, 0.5), (0.0, 0.01, 0.0), (1.0, 0.99, 1.0), (0.2, 0.9, 0.21)])
def test_names_of_lines_stand_apart_and_above_the_axis(ends):
    lines = curves({name: [(0.0, 0.5), (1.0, end)] for name, end in zip("abc", ends, strict=True)})
    places = sorted(line.end.at for line in lines if line.end)
    assert len(places) == 3
    assert np.diff(places).min() >= 12 - 1e-9
    assert places[-1] <= HEIGHT - 34
