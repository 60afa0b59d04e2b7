"""Curves over alpha are read from their runs: in order of alpha, of equal settings, and shown as one table."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from gate_runs import states, write_run

from rate.cli.main import run
from rate.errors import RunError
from rate.report.schemas import all_schemas
from rate.studies.wise_curve import load_curve


@pytest.fixture
def curve(tmp_path: Path) -> Path:
    for alpha, right in (("1", 6), ("0.25", 4), ("0", 2)):
        write_run(tmp_path / "curve" / f"alpha-{alpha}", {"zs": states(rr=right, rw=8 - right)}, verdict="swap")
    return tmp_path / "curve"


def test_points_come_in_order_of_alpha(curve: Path, capsys) -> None:
    document = load_curve(curve).document
    points = [(point.alpha, point.run, point.heads["zs"].pt.value) for point in document.runs]
    assert points == [(0.0, "alpha-0", 0.25), (0.25, "alpha-0.25", 0.5), (1.0, "alpha-1", 0.75)]
    assert run(["show", str(curve), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    jsonschema.validate(told, all_schemas()["wise"])
    assert [point["run"] for point in told["runs"]] == ["alpha-0", "alpha-0.25", "alpha-1"]
    assert run(["show", str(curve)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "zs: 3 runs of 8 images"
    assert lines[1].split() == ["alpha", "accuracy", "PT", "IR", "object-only", "background-only", "gap"]
    assert lines[3].split() == ["0.25", "1.000", "0.500", "1.000", "0.750", "0.250", "0.500"]
    assert run(["status", str(curve)]) == 0
    assert "3 of 3 runs complete" in capsys.readouterr().out


def test_runs_that_do_not_belong_together_are_refused(curve: Path, capsys) -> None:
    write_run(curve / "alpha-0.5", {"zs": states(rr=8)})
    with pytest.raises(RunError, match=r"alpha-0 and alpha-0.5 differ in measurement"):
        load_curve(curve)
    (curve / "alpha-0.5").rename(curve / "alpha-half")
    (curve / "alpha-half" / "run.json").write_text((curve / "alpha-0" / "run.json").read_text())
    with pytest.raises(RunError, match="alpha-half is no run of a curve"):
        load_curve(curve)
    asked = ["grid", "wise", "timm:a", "timm:b", "data.csv", "--out"]
    for more, message in (
        (["new", "--alphas", "0,2"], "--alphas must be numbers from 0 to 1"),
        ([str(curve / "alpha-0")], "is one run, and several are to be written"),
        (["s3://bucket/curve"], "a curve is written to a folder of this machine"),
    ):
        assert run([*asked, *more]) == 2
        assert message in capsys.readouterr().err
