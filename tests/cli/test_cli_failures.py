"""Why samples failed is told wherever a run is looked at."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import jsonschema
import pytest
from gate_runs import states, write_run

from rate.cli.main import run
from rate.records import written
from rate.report.schemas import all_schemas
from rate.runs.summary.summarise import load_summary

POLICY = '[[check]]\nmetric = "errors"\nmax = 0.9\nuse = "value"\n'


@pytest.mark.parametrize("command", ["show", "status", "gate"])
def test_the_commonest_reason_is_told_with_a_count_and_an_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    folder = write_run(tmp_path / "run", {"ft": states(rr=4, error=3)}, execution={"max_errors": 3})
    (tmp_path / "gate.toml").write_text(POLICY)
    assert run([command, str(folder), *(["--policy", str(tmp_path / "gate.toml")] if command == "gate" else [])]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "broken" in line]
    assert "3 failed" in line
    assert "s000004" in line


def test_a_summary_with_failures_follows_its_schema(tmp_path: Path) -> None:
    summary = json.loads(written(load_summary(write_run(tmp_path / "run", {"ft": states(rr=4, error=3)})).document))
    jsonschema.validate(summary, all_schemas()["summary"])
    expected = {"reason": "broken", "count": 3, "example": "s000004", "message": "broken"}
    assert summary["heads"]["ft"]["failures"] == [expected]
    wrong = json.loads(json.dumps(summary).replace('"count": 3', '"count": "3"'))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, all_schemas()["summary"])


def test_a_gate_tells_a_run_at_work_from_one_that_was_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "run", {"ft": states(rr=4)}, status="running")
    (tmp_path / "gate.toml").write_text(POLICY)
    asked = ["gate", str(folder), "--policy", str(tmp_path / "gate.toml")]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(asked) == 2
        assert "run@ft is running, and a gate needs a complete run" in capsys.readouterr().err
    assert run(asked) == 2
    assert "run@ft was interrupted, and a gate needs a complete run" in capsys.readouterr().err
