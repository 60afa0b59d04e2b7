"""A summary as text and as HTML, and its rows, from the functions that a user calls."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from paired_runs import write_run

import rate
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
def test_every_number_has_a_line_and_a_cell(tmp_path: Path, verdict: str) -> None:
    summary = rate.load_run(write_run(tmp_path / "run", {"zs": STATES, "ft": ["rr"] * 12}, verdict=verdict))
    first, *lines = str(summary).splitlines()
    assert first == f"{tmp_path / 'run'}: complete, 12 images, 1 errors"
    head = summary.heads["zs"]
    expected = {"accuracy": head.accuracy, "PT": head.pt.ratio, "IR": head.ir.ratio}
    if verdict == "swap":
        expected |= {
            "object-only": head.swap.object_only,
            "background-only": head.swap.background_only,
            "gap": head.swap.gap,
        }
    assert len(lines) == 2 * len(expected)
    page = Cells(summary._repr_html_())
    for (title, share), line in zip(expected.items(), lines, strict=False):
        interval = f"{share.low:.3f} to {share.high:.3f}"
        assert line.split()[:2] == ["zs", title]
        assert f"{share.value:.3f}  {interval}" in line
        assert any(f"{share.value:.3f} {interval}" in cell for cell in page.cells)
        assert f"{title} " in page.cells
    assert "9/11" in lines[0]


def test_a_number_that_is_undefined_says_so(tmp_path: Path) -> None:
    summary = rate.load_run(write_run(tmp_path / "run", {"zs": ["error"] * 3}, verdict="swap"))
    assert all(line.split()[2] == "undefined" for line in str(summary).splitlines()[1:])
    assert Cells(summary._repr_html_()).cells.count("undefined 0 images ") == 3


def test_names_stay_text(tmp_path: Path) -> None:
    evil = "<img src=x>\n\x1b[2J"
    summary = rate.load_run(write_run(tmp_path / "run", {evil: STATES}))
    assert all(line.isprintable() for line in str(summary).splitlines())
    assert len(str(summary).splitlines()) == 4
    assert "img" not in Cells(summary._repr_html_()).tags


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
