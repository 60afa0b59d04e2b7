"""A summary as text and as HTML, and its rows, from the functions that a user calls."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest
from paired_runs import write_run

import rate
from rate.cli.main import run
from rate.errors import RunError, UsageError

STATES = ["rr"] * 6 + ["rw"] * 2 + ["wr", "ww", "undefined_right", "error"]


class Cells(HTMLParser):
    """The tags, and the text of each cell."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += f"{data} "


@pytest.mark.parametrize("verdict", ["swap", "map"])
def test_the_text_is_what_show_prints(tmp_path: Path, verdict: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", {"zs": STATES, "ft": ["rr"] * 12}, verdict=verdict)
    first, *lines = str(rate.load_run(folder)).splitlines()
    assert first == f"{folder}: complete, 12 images, 1 errors"
    assert run(["show", str(folder)]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == printed[: len(lines)]
    assert {"accuracy", "PT", "IR"} <= {line.split()[0] for line in lines if line}
    assert len(printed) == len(lines) + 2  # an empty line, and the pace


@pytest.mark.parametrize("verdict", ["swap", "map"])
def test_every_number_has_a_cell(tmp_path: Path, verdict: str) -> None:
    summary = rate.load_run(write_run(tmp_path / "run", {"zs": STATES, "ft": ["rr"] * 12}, verdict=verdict))
    head = summary.heads["zs"]
    expected = {"accuracy": head.accuracy, "PT": head.pt.ratio, "IR": head.ir.ratio}
    if verdict == "swap":
        expected |= {
            "object-only": head.swap.object_only,
            "background-only": head.swap.background_only,
            "gap": head.swap.gap,
        }
    page = Cells(summary._repr_html_())
    for title, share in expected.items():
        interval = f"{share.low:.3f} to {share.high:.3f}"
        assert any(f"{share.value:.3f} {interval}" in cell for cell in page.cells)
        assert f"{title} " in page.cells


def test_a_number_that_is_undefined_says_so(tmp_path: Path) -> None:
    summary = rate.load_run(write_run(tmp_path / "run", {"zs": ["error"] * 3}, verdict="swap"))
    assert str(summary).count("undefined") >= 6
    assert Cells(summary._repr_html_()).cells.count("undefined 0 images ") == 3


def test_names_stay_text(tmp_path: Path) -> None:
    evil = "<img src=x>\n\x1b[2J"
    summary = rate.load_run(write_run(tmp_path / "run", {evil: STATES}))
    assert all(line.isprintable() for line in str(summary).splitlines())
    assert "<img src=x>\ufffd\ufffd[2J: 12 images" in str(summary)
    assert "img" not in Cells(summary._repr_html_()).tags


def test_comparisons_and_decisions_are_shown_in_notebooks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", {"<zs>": STATES, "ft": ["rr"] * 12})
    comparison = rate.compare(folder)
    assert run(["compare", str(folder)]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.rstrip().splitlines()]
    assert str(comparison).splitlines() == printed
    decision = rate.gate(f"{folder}@ft", [{"metric": "accuracy", "min": 0.5}])
    for result, said in ((comparison, "&lt;zs&gt;"), (decision, "accuracy")):
        page = result._repr_html_()
        assert page.startswith("<pre ")
        assert said in page
        assert Cells(page).tags == ["pre"]


def test_pandas_polars_and_pyarrow_read_the_rows(tmp_path: Path) -> None:
    summary = rate.load_run(write_run(tmp_path / "run", {"zs": STATES, "ft": ["rr"] * 12}))
    polars, pandas = (pytest.importorskip(name) for name in ("polars", "pandas"))
    ids = summary.rows()["id"].to_pylist()
    assert polars.DataFrame(summary)["id"].to_list() == ids
    assert pandas.DataFrame.from_arrow(summary)["id"].tolist() == ids
    assert pa.table(summary).equals(summary.rows())


def test_rows_come_as_a_table_in_order_of_id(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"zs": STATES, "ft": ["rr"] * 12}, verdict="swap")
    summary = rate.load_run(folder)
    rows = summary.rows("zs")
    assert rows["id"].to_pylist() == [f"s{k:03d}" for k in range(12)]
    assert rows["share"].to_pylist()[:2] == pytest.approx([0.7, 0.7])
    assert rows["localization"].null_count == len(rows)
    assert len(summary.rows()) == 24
    with pytest.raises(UsageError, match="has no head 'lp'; it has zs, ft"):
        summary.rows("lp")
    folder.rename(tmp_path / "gone")
    with pytest.raises(RunError, match="is not a run folder"):
        summary.rows()
