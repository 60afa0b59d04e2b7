"""The page of a folder of runs over corruptions: what it has, in which order, and whose pictures."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from statistics import fmean

import pytest
from chromium import Browser
from report_runs import Plan, write_run

import rate
from rate.cli.main import run
from rate.errors import UsageError
from rate.records import write
from rate.report.gate.policy import read_policy
from rate.report.html.grid import write_grid_report
from rate.report.html.trend import BOTTOM, HEIGHT, TOP, Point, places, trend
from rate.runs.folder import GRID
from rate.statistics.metrics import Ratio
from rate.studies.corruption_grid import folder_of, load_grid

QUADRANTS = {
    None: ("rr", "rr", "rr", "rw"),
    "fog:1": ("rr", "rw", "rr", "wr"),
    "fog:3": ("rw", "rw", "ww", "rr"),
    "snow:3": ("rr", "rw", "ww", "ww"),
}


def grid(
    folder: Path, quadrants: dict[str | None, tuple[str, ...]] = QUADRANTS, heads: tuple[str, ...] = ("lp",)
) -> Path:
    for corrupt, own in quadrants.items():
        measurement = {} if corrupt is None else {"corrupt": corrupt}
        plan = Plan(count=16, heads=heads, quadrants=own, measurement=measurement)
        write_run(folder.parent, plan, f"{folder.name}/{folder_of(corrupt)}")
    write(folder / GRID, load_grid(folder).document)
    return folder


def section(page: str, name: str) -> str:
    """The section of that id, with the sections in it."""
    return page.split(f'<section id="{name}"')[1].split('<section id="')[0]


def test_runs_and_corruptions_are_listed_worst_first(tmp_path: Path) -> None:
    written = write_grid_report(str(grid(tmp_path / "grid")), tmp_path / "page.html", max_samples=0)
    page = written.path.read_text()
    names = re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', section(page, "runs"))
    assert names == ["fog-3", "snow-3", "fog-1", "clean"]
    assert re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', section(page, "corruptions")) == ["fog", "snow"]
    overview = section(page, "answer")
    assert re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', overview) == ["clean", "mean of 3", "fog-3"]
    assert "fog-3@lp</bdi> against <bdi>clean@lp" in overview
    embedded = json.loads(page.split('id="report-data">')[1].split("</script>")[0])
    assert embedded["grid"] == json.loads((tmp_path / "grid" / GRID).read_text())
    assert section(page, "severity").count('<svg class="chart"') == 3


def test_the_pictures_are_failures_of_the_worst_run(tmp_path: Path) -> None:
    written = write_grid_report(str(grid(tmp_path / "grid")), tmp_path / "page.html", max_samples=8)
    page = written.path.read_text()
    assert (written.samples, written.pictures) == (8, 8)
    samples = section(page, "samples")
    assert set(re.findall(r'class="card" data-head="(\d)"', samples)) == {"1"}
    assert samples.index('data-quadrant="rw"') < samples.index('data-quadrant="rr"')
    assert "Right in clean@lp, wrong in fog-3@lp" in page


def test_every_run_is_paired_with_clean_images_by_id(tmp_path: Path) -> None:
    """Of 16 samples 12 are right on valid evidence when clean: three of every four."""
    page = write_grid_report(str(grid(tmp_path / "grid")), tmp_path / "page.html", max_samples=40).path.read_text()
    rows = re.findall(r"<tr>(.*?)</tr>", section(page, "clean"), re.S)[1:]
    cells = [re.sub(r"<.*?>", " ", row).split() for row in rows]
    # run, of, share that stays so with its interval, then right on invalid evidence, right without verdict, and wrong
    assert [(row[0], row[1], row[2], row[6::3][:3]) for row in cells] == [
        ("fog-3", "12", "0.000", ["8", "0", "4"]),
        ("snow-3", "12", "0.333", ["4", "0", "4"]),
        ("fog-1", "12", "0.667", ["4", "0", "0"]),
    ]
    assert Ratio(4, 12).interval == pytest.approx([float(cells[1][3]), float(cells[1][5])], abs=5e-4)
    options = re.findall(r"<option value=.\d.>(.*?)</option>", section(page, "changed"))
    assert options == ["clean@lp → fog-3@lp", "clean@lp → snow-3@lp"]  # the worst run of each corruption
    assert section(page, "changed").count('class="moved"') == 2


def test_one_corruption_is_shown_at_a_time(tmp_path: Path, browser: Browser) -> None:
    browser.open(write_grid_report(str(grid(tmp_path / "grid")), tmp_path / "page.html", max_samples=40).path)
    shown = "[...document.querySelectorAll('#changed .moved')].map((moved) => moved.checkVisibility())"
    assert browser.ask(shown) == [True, False]
    browser.ask(
        "(s => { s.value = '1'; s.dispatchEvent(new Event('input')) })(document.querySelector('#changed-pair'))"
    )
    assert browser.ask(shown) == [False, True]


def test_a_grid_without_clean_images_or_of_two_heads(tmp_path: Path) -> None:
    some = {corrupt: own for corrupt, own in QUADRANTS.items() if corrupt is not None}
    found = grid(tmp_path / "grid", some, ("zs", "lp"))
    page = rate.report(found, out=tmp_path / "two.html", max_samples=0).path.read_text()
    assert 'id="changed"' not in page
    assert re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', section(page, "answer")) == ["mean of 3", "fog-3"] * 2
    assert section(page, "severity").count('<article class="head">') == 2
    one = rate.report(f"{tmp_path / 'grid'}@zs", out=tmp_path / "one.html", max_samples=0)
    assert one.heads == ("zs",)
    with pytest.raises(UsageError, match="has no head 'ft'; it has zs, lp"):
        rate.report(f"{tmp_path / 'grid'}@ft", out=tmp_path / "none.html")
    with pytest.raises(UsageError, match="a page is of one such folder"):
        rate.report(tmp_path / "grid", tmp_path / "grid" / "fog-1", out=tmp_path / "none.html")


def test_a_decision_and_the_rows_of_all_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, policy = grid(tmp_path / "grid"), tmp_path / "gate.toml"
    policy.write_text(
        'across_corruptions = true\n[[check]]\nmetric = "pt"\nmax_drop = 0.6\nuse = "value"\nover = "worst"\n'
    )
    asked = ["report", str(found), "--out", str(tmp_path / "page.html"), "--policy", str(policy), "--rows"]
    assert run([*asked, "--max-samples", "0"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "<strong>Gate passed</strong>: <bdi>grid@lp</bdi> against <bdi>clean@lp</bdi>" in page
    assert 'href="page.csv"' in page
    with (tmp_path / "page.csv").open(newline="") as file:
        assert {row["name"] for row in csv.DictReader(file)} == {
            f"{name}@lp" for name in ("clean", "fog-1", "fog-3", "snow-3")
        }
    with pytest.raises(UsageError, match="is a drop and needs a baseline"):
        write_grid_report(
            str(found), tmp_path / "none.html", policy=read_policy([{"metric": "pt", "max_drop": 0.6}]), max_samples=0
        )


def test_means_have_the_means_of_the_ends(tmp_path: Path) -> None:
    found = load_grid(grid(tmp_path / "grid"))
    fog = [cell.heads["lp"].pt for cell in found.cells if cell.corruption == "fog"]
    mean = found.mean("lp", None, "fog").pt
    for end in ("low", "value", "high"):
        assert getattr(mean, end) == pytest.approx(fmean(getattr(one, end) for one in fog))
    assert mean.runs == 2
    assert found.mean("lp").gap.runs == 0


def test_a_trend_lies_within_its_frame_and_breaks_where_nothing_is_known() -> None:
    values = [(0.8, 0.7, 0.9), (None, None, None), (-0.1, -0.2, 0.0), (0.3, 0.2, 0.4)]
    points = [Point(at, f"v{k}", *one) for k, (at, one) in enumerate(zip(places(4), values, strict=True))]
    drawn = trend(points, {"part": points[2:]})
    assert drawn is not None
    assert drawn.path.count("M") == 2
    assert drawn.zero is not None
    heights = [float(y) for y in re.findall(r"[ V]([\d.]+)", drawn.path + drawn.whiskers)]
    assert TOP <= min(heights) < max(heights) <= HEIGHT - BOTTOM
    assert drawn.dots[0].says == "v0: 0.800 (0.700 to 0.900)"
    assert [tick.text for tick in drawn.ticks] == ["v0", "v1", "v2", "v3"]
    assert trend([Point(0.5, "v", None)]) is None
    many = trend([Point(at, f"release-{k}", 0.5) for k, at in enumerate(places(25))])
    assert many is not None
    assert [tick.text for tick in many.ticks if tick.text] == [str(k) for k in range(1, 26, 3)]
    assert len(many.levels) == 2
