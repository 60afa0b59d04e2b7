"""Gates of folders of runs over corruptions, and of several heads."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from gate_runs import states, write_run

import rate
from rate.cli.main import run
from rate.config import Measurement
from rate.errors import RunError, UsageError
from rate.records import write
from rate.report.gate.policy import read_policy
from rate.studies.corruption_grid import GRID, folder_of, load_grid

RIGHT = {None: 95, "fog:1": 90, "fog:3": 76}  # of 100 correct predictions on valid evidence


def grid(folder: Path, right: dict[str | None, int], heads: tuple[str, ...] = ("ft",), **run: str) -> Path:
    for corruption, rr in right.items():
        measurement = Measurement(corrupt=corruption).to_json()
        found = {head: states(rr=rr, rw=100 - rr) for head in heads}
        write_run(folder / folder_of(corruption), found, measurement=measurement, **run)
    write(folder / GRID, load_grid(folder).document)
    return folder


def pt(**more: object) -> list[dict[str, object]]:
    return [{"metric": "pt", "min": 0.8, **more}]


def test_every_run_of_a_grid_is_checked(tmp_path: Path) -> None:
    decision = rate.gate(grid(tmp_path / "grid", RIGHT), pt())
    assert [(one.run, one.state) for one in decision.results] == [
        ("clean", "pass"),
        ("fog-1", "pass"),
        ("fog-3", "inconclusive"),
    ]
    assert decision.verdict == "inconclusive"
    assert "pt min 0.8 [fog-3]" in str(decision)
    single = rate.gate(tmp_path / "grid" / "fog-3", pt())
    assert single.results[0].message == decision.results[2].message
    assert decision.run.n == 300


def test_the_worst_run_is_one_result(tmp_path: Path) -> None:
    [found] = rate.gate(grid(tmp_path / "grid", RIGHT), pt(over="worst")).results
    assert (found.run, found.state, found.reading.value) == ("fog-3", "inconclusive", 0.76)
    [found] = rate.gate(tmp_path / "grid", pt(over="worst", min=0.5)).results
    assert (found.run, found.state) == ("fog-3", "pass")


def test_the_mean_over_runs_has_the_mean_of_the_ends(tmp_path: Path) -> None:
    each = rate.gate(grid(tmp_path / "grid", RIGHT), pt(use="value")).results
    [found] = rate.gate(tmp_path / "grid", pt(over="mean")).results
    ends = [sum(getattr(one.reading, end) for one in each) / 3 for end in ("low", "value", "high")]
    assert [found.reading.low, found.reading.value, found.reading.high] == pytest.approx(ends)
    assert (found.run, found.name, found.state) == (None, "pt min 0.8, mean run", "inconclusive")
    assert found.why.endswith("over 3 runs")
    assert rate.gate(tmp_path / "grid", pt(over="mean", min=0.75)).passed


def test_one_run_without_a_value_leaves_the_mean_undecided(tmp_path: Path) -> None:
    found = grid(tmp_path / "grid", {None: 95})
    write_run(found / "fog-1", {"ft": states(wr=100)}, measurement=Measurement(corrupt="fog:1").to_json())
    write(found / GRID, load_grid(found).document)
    [result] = rate.gate(found, pt(over="mean")).results
    assert (result.run, result.state) == ("fog-1", "inconclusive")


def test_drops_are_measured_run_by_run(tmp_path: Path) -> None:
    new, old = grid(tmp_path / "new", RIGHT), grid(tmp_path / "old", RIGHT | {"fog:3": 99})
    decision = rate.gate(new, [{"metric": "pt", "max_drop": 0.1}], old)
    assert [one.state for one in decision.results] == ["pass", "pass", "fail"]
    assert decision.results[2].reading.value == pytest.approx(-0.23)
    [mean] = rate.gate(new, [{"metric": "pt", "max_drop": 0.1, "over": "mean", "use": "value"}], old).results
    assert mean.reading.value == pytest.approx(-0.23 / 3)
    assert mean.state == "pass"
    with pytest.raises(RunError, match="one of them lacks fog-5"):
        rate.gate(new, pt(), grid(tmp_path / "more", RIGHT | {"fog:5": 50}))
    with pytest.raises(UsageError, match="is a folder of runs and"):
        rate.gate(new, pt(), old / "clean")


def test_drops_from_clean_images_are_measured_where_the_policy_says_so(tmp_path: Path) -> None:
    found = grid(tmp_path / "grid", RIGHT)
    drop = {"metric": "pt", "max_drop": 0.3, "use": "value"}
    with pytest.raises(RunError, match=r"measurement\.corrupt: None in clean@ft, 'fog:3' in fog-3@ft"):
        rate.gate(found / "fog-3", [drop], found / "clean")
    across = {"across_corruptions": True, "check": [drop]}
    one = rate.gate(found / "fog-3", across, found / "clean")
    assert one.results[0].reading.value == pytest.approx(-0.19)
    assert "clean@ft has clean images, and fog-3@ft has images under fog:3" in one.notices[0]
    each = rate.gate(found, across, found / "clean")
    assert [one.reading.value for one in each.results] == pytest.approx([0.0, -0.05, -0.19])
    assert (each.run.name, each.baseline.name if each.baseline else None) == ("grid@ft", "clean@ft")
    assert read_policy(across).digest != read_policy([drop]).digest
    with pytest.raises(rate.RateError, match="across_corruptions must be true or false, got 'yes'"):
        read_policy(across | {"across_corruptions": "yes"})


def test_a_grid_that_was_not_finished_is_refused(tmp_path: Path) -> None:
    """A run that began after the others is not in grid.json; without that file the runs are perhaps not all."""
    found = grid(tmp_path / "grid", RIGHT)
    write_run(found / "fog-5", {"ft": states(rr=100)}, measurement=Measurement(corrupt="fog:5").to_json())
    for what in ("names 3; only one of them has fog-5", "that can be read"):
        with pytest.raises(RunError, match=rf"holds 4 runs, and .*{what}.*--allow-partial"):
            rate.gate(found, pt())
        decision = rate.gate(found, pt(), allow_partial=True)
        assert (len(decision.results), decision.run.status) == (4, "partial")
        assert what in decision.notices[0]
        (found / GRID).unlink(missing_ok=True)


def test_a_folder_of_other_runs_is_no_grid(tmp_path: Path) -> None:
    write_run(tmp_path / "curve" / "alpha-0", {"ft": states(rr=1)})
    with pytest.raises(RunError, match=r"holds no runs over corruptions.* name a single run, such as .*alpha-0"):
        rate.gate(tmp_path / "curve", pt())


def test_the_mean_has_no_slices() -> None:
    with pytest.raises(rate.RateError, match="over = 'mean' does not go with slice"):
        read_policy(pt(over="mean", slice="class"))


def test_several_heads_are_one_gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {"good": states(rr=99, rw=1), "bad": states(rr=50, rw=50)}
    write_run(tmp_path / "run", found)
    write_run(tmp_path / "old", found)
    policy, junit, markdown = (tmp_path / name for name in ("gate.toml", "g.xml", "g.md"))
    policy.write_text('[[check]]\nmetric = "pt"\nmin = 0.8\n[[check]]\nmetric = "ir"\nmax_drop = 0.2\n')
    asked = ["gate", *(f"{tmp_path / 'run'}@{head}" for head in ("good", "bad")), "--policy", str(policy)]
    asked += ["--baseline", str(tmp_path / "old")]
    assert run([*asked, "--junit", str(junit), "--markdown", str(markdown)]) == 1
    said = capsys.readouterr().out
    assert "gate passed: run@good against old@good" in said
    assert "gate failed: run@bad against old@bad" in said
    root = ET.parse(junit).getroot()
    assert [suite.get("name") for suite in root] == ["run@good", "run@bad"]
    assert (root.get("tests"), root.get("failures")) == ("4", "1")
    assert markdown.read_text().count("## rate gate") == 2
    assert run([*asked, "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["schema"], printed["verdict"]) == ("rate.gates/2", "failed")
    assert [gate["verdict"] for gate in printed["gates"]] == ["passed", "failed"]


def test_a_grid_of_several_heads_needs_one(tmp_path: Path) -> None:
    found = grid(tmp_path / "grid", RIGHT, ("lp", "ft"))
    with pytest.raises(UsageError, match="has 2 heads and one is needed"):
        rate.gate(found, pt())
    with pytest.raises(UsageError, match="has no head 'xx'"):
        rate.gate(f"{found}@xx", pt())
    assert rate.gate(f"{found}@ft", pt(), f"{found}@lp").baseline.name == "grid@lp"


def test_the_baseline_of_a_grid_is_one_of_those_beside_it(tmp_path: Path) -> None:
    """The best has the highest mean PT of those over the same corruptions; one with fewer is none of them."""
    versions = {"v1": RIGHT | {"fog:3": 99}, "v2": RIGHT, "v3": {None: 99}, "v4": RIGHT}
    for day, (name, right) in enumerate(versions.items(), 1):
        grid(tmp_path / name, right, started=f"2026-01-0{day}T00:00:00Z")
    drop = [{"metric": "pt", "max_drop": 0.1}]
    for word, name in (("best", "v1@ft"), ("last", "v2@ft"), ("v2", "v2@ft")):
        decision = rate.gate(tmp_path / "v4", drop, word)
        assert decision.baseline is not None
        assert (decision.baseline.name, len(decision.results)) == (name, 3)
    assert rate.gate(tmp_path / "v4", drop, "best").verdict == "failed"
    with pytest.raises(RunError, match=r"no run of .* v3: v1 \(only one of the two has fog-1, fog-3\)"):
        rate.gate(tmp_path / "v3", drop, "best")
    with pytest.raises(UsageError, match="where v4 lies, has v1, v2, v3, v4; name one of them, best or last"):
        rate.gate(tmp_path / "v4", drop, "v5")
