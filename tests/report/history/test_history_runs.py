"""Releases in order: their changes, the baseline by a word or a name, and the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from gate_runs import states, write_run

import rate
from rate.cli.main import run
from rate.config import Measurement
from rate.errors import RunError, UsageError
from rate.records import schema_of
from rate.report.history.history import HistoryDocument, history
from rate.report.history.releases import named_baseline, order_by_pt
from rate.runs.run_document import read_run
from rate.studies.corruption_grid import folder_of

VALID = {"b": 60, "a": 90, "c": 70}  # of 100 right predictions, in order of time


def releases(folder: Path, heads: tuple[str, ...] = ("ft",), verdict: str = "map") -> Path:
    for month, (name, rr) in enumerate(VALID.items(), 1):
        found = {head: states(rr=rr, rw=100 - rr) for head in heads}
        write_run(folder / name, found, verdict=verdict, started=f"2026-0{month}-01T00:00:00Z")
    return folder


def test_a_folder_is_read_in_order_of_time_and_each_run_held_against_the_one_before(tmp_path: Path) -> None:
    [entries] = history([str(releases(tmp_path / "runs"))]).series.values()
    assert [entry.title for entry in entries] == ["b", "a", "c"]
    assert [entry.against for entry in entries] == [None, "b", "a"]
    changes = [change.value for entry in entries if (change := entry.change("pt")) is not None]
    assert changes == pytest.approx([0.3, -0.2])
    assert entries[1].change("pt") == rate.compare(tmp_path / "runs/b", tmp_path / "runs/a").pairs[0].differences["pt"]
    [named] = history([str(tmp_path / "runs" / name) for name in "abc"]).series.values()
    assert [entry.title for entry in named] == ["a", "b", "c"]


@pytest.mark.parametrize(("asked", "against"), [("best", "a"), ("last", "c"), ("b", "b")])
def test_one_run_is_the_baseline_of_all_others(tmp_path: Path, asked: str, against: str) -> None:
    found = history([str(releases(tmp_path / "runs"))], asked)
    [entries] = found.series.values()
    assert {entry.title: entry.against for entry in entries} == {"b": against, "a": against, "c": against} | {
        against: None
    }
    with pytest.raises(UsageError, match=r"'d' is none of the runs; it is best, last or one of b, a, c"):
        history([str(tmp_path / "runs")], "d")


def test_heads_of_one_name_are_a_series_and_others_measurements_stand_apart(tmp_path: Path) -> None:
    folder = releases(tmp_path / "runs", ("zs", "lp"))
    write_run(folder / "d", {"lp": states(rr=3)}, started="2026-05-01T00:00:00Z", status="partial")
    other = read_run(folder / "a").measurement | {"tau": 0.25}
    write_run(folder / "e", {"lp": states(rr=3)}, started="2026-06-01T00:00:00Z", measurement=other)
    found = history([str(folder)])
    assert {name: [entry.title for entry in some] for name, some in found.series.items()} == {
        "zs": ["b", "a", "c"],
        "lp": ["b", "a", "c", "d", "e"],
    }
    assert found.notices[0].startswith("d is partial")
    assert "e is not compared with d: they measured different things: measurement.tau: 0.5 in d@lp" in found.notices[1]
    [one] = history([f"{folder}@lp"]).series.values()
    assert len(one) == 5
    with pytest.raises(UsageError, match="a history needs two runs or more"):
        history([str(folder / "a")])


def test_the_command_prints_json_and_a_table_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = str(releases(tmp_path / "runs", verdict="swap")), tmp_path / "history.html"
    assert run(["history", folder, "--baseline", "best", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, schema_of(HistoryDocument))
    assert [one["against"] for one in printed["heads"]["ft"]] == ["a", None, "a"]
    assert printed["heads"]["ft"][0]["gap"]["value"] == pytest.approx(0.5)
    assert run(["history", folder, "--out", str(out)]) == 0
    table = capsys.readouterr().out
    assert max(map(len, table.splitlines())) <= 80
    assert re.search(r"a +0\.900  0\.826 - 0\.945  \+0\.300  \+0\.2\d\d to \+0\.\d{3}  rose", table)
    page = out.read_text()
    assert page.count('<svg class="chart"') == 4
    assert '<span class="change fell">-0.200' in page
    assert run(["history", folder, "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err


def test_a_gate_finds_its_baseline_among_the_runs_beside_it(tmp_path: Path) -> None:
    folder = releases(tmp_path / "runs")
    drop = [{"metric": "pt", "max_drop": 0.1, "use": "value"}]
    against = {word: rate.gate(folder / "c", drop, word).baseline for word in ("best", "last", "b")}
    assert {word: one.name for word, one in against.items() if one} == {"best": "a@ft", "last": "a@ft", "b": "b@ft"}
    assert rate.gate(folder / "a", drop, "last").passed  # the last of the others
    write_run(tmp_path / "new", {"ft": states(rr=80, rw=20)})
    assert named_baseline(f"{folder}/best", str(tmp_path / "new")) == f"{folder / 'a'}"
    assert named_baseline(f"{folder}/last@ft", str(tmp_path / "new")) == f"{folder / 'c'}@ft"
    with pytest.raises(
        UsageError, match=r"there is no run 'd' to be the baseline, and .*runs, where c lies, has b, a, c"
    ):
        rate.gate(folder / "c", drop, "d")


def test_an_undefined_pt_is_below_0_alone_and_counts_as_0_in_a_mean() -> None:
    assert order_by_pt([None]) < order_by_pt([0.0]) < order_by_pt([0.1])
    assert order_by_pt([0.3, 0.3]) < order_by_pt([0.9, None]) < order_by_pt([0.5, 0.5])


def test_only_complete_runs_that_measured_the_same_are_baselines(tmp_path: Path) -> None:
    other = {"started": "2026-09-01T00:00:00Z"}
    write_run(tmp_path / "runs/new", {"ft": states(rr=5)})
    write_run(tmp_path / "runs/half", {"ft": states(rr=5)}, status="partial", **other)
    measurement = read_run(tmp_path / "runs/new").measurement | {"masks": 7}
    write_run(tmp_path / "runs/less", {"ft": states(rr=5)}, measurement=measurement, **other)
    with pytest.raises(RunError, match=r"no run of .* new: half \(partial\), less \(another measurement.masks\)"):
        named_baseline("best", str(tmp_path / "runs/new"))
    write_run(tmp_path / "runs/old", {"ft": states(rr=5)})
    assert named_baseline("last", str(tmp_path / "runs/new")) == str(tmp_path / "runs/old")


def test_runs_under_several_corruptions_are_a_series_for_each(tmp_path: Path) -> None:
    valid = {"v1": (60, 90), "v2": (70, 50), "v3": (65, 40)}  # of clean images, of those under fog
    for day, (name, shares) in enumerate(valid.items(), 1):
        for corrupt, rr in zip((None, "fog:3"), shares, strict=True):
            measurement = Measurement(corrupt=corrupt).to_json()
            began = f"2026-01-0{day}T00:00:00Z"
            folder = tmp_path / "runs" / name / folder_of(corrupt)
            write_run(folder, {"ft": states(rr=rr, rw=100 - rr)}, measurement=measurement, started=began)
    found = history([str(tmp_path / "runs")], "best")
    assert list(found.series) == ["ft, clean", "ft, fog:3"]
    for entries in found.series.values():
        assert {entry.title: entry.against for entry in entries} == {"v1": None, "v2": "v1", "v3": "v1"}
    changes = [change.value for entry in found.series["ft, fog:3"] if (change := entry.change("pt")) is not None]
    assert changes == pytest.approx([-0.4, -0.5])
    named = history([f"{tmp_path / 'runs' / name}@ft" for name in ("v3", "v1")], "last")
    assert [entry.title for entry in named.series["ft, clean"]] == ["v3", "v1"]
    assert named.series["ft, fog:3"][0].against == "v1"
    with pytest.raises(UsageError, match="two runs or more of the same images"):
        history([str(tmp_path / "runs/v1")])
