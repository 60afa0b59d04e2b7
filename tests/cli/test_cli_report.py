"""`rate report` on a real run, from the command line inwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rate.cli.main import run

FEW = ("--masks", "200", "--batch", "8", "--threads", "1", "--backend", "onnxruntime")


@pytest.fixture(scope="module")
def finished(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "run"
    assert run(["eval", str(trained.artifact), str(trained.manifest), "--out", str(out), *FEW, "--keep", "0.5"]) == 0
    return out


def test_a_real_run_becomes_a_page(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "report.html"
    assert run(["report", str(finished), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out)
    assert said.err == ""
    page = out.read_text(encoding="utf-8")
    pt = json.loads((finished / "summary.json").read_text())["heads"]["lp"]["pt"]
    assert f"<strong>{pt['value']:.3f}</strong>" in page
    assert page.count('class="card"') == 8


def test_json_says_what_was_written(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    arguments = ["report", f"{finished}@lp", str(finished), "--out", str(out), "--json", "--max-samples", "3"]
    assert run(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "schema": "rate.page/1",
        "report": str(out),
        "bytes": out.stat().st_size,
        "heads": ["lp"],  # named twice, shown once
        "samples": 3,
        "pictures": 3,
        "notices": [],
        "rows": None,
    }


def test_a_policy_and_the_rows(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gate.toml").write_text('[[check]]\nmetric = "accuracy"\nmin = 0.999\nmin_samples = 1\nuse = "value"\n')
    out = tmp_path / "report.html"
    arguments = ["report", str(finished), "--out", str(out), "--rows", "--policy", str(tmp_path / "gate.toml")]
    assert run(arguments) == 0
    assert "Gate " in out.read_text()
    assert out.with_suffix(".csv").read_text().startswith('"name","id","head"')
    assert run([*arguments[:3], "/dev/stdout", "--rows"]) == 2
    assert "--out FILE.html" in capsys.readouterr().err


def test_moved_data_is_a_notice_with_its_cure(
    trained, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = shutil.copytree(finished, tmp_path / "run")
    about = json.loads((run_folder / "run.json").read_text())
    del about["sha256"]  # as whoever edits it by hand has to
    about["origin"] |= {"data": str(tmp_path / "gone.csv"), "data_from_run": "../gone.csv"}
    (run_folder / "run.json").write_text(json.dumps(about))
    out = tmp_path / "report.html"
    assert run(["report", str(run_folder), "--out", str(out)]) == 0
    assert "--data MANIFEST" in capsys.readouterr().err
    arguments = ["report", str(run_folder), "--out", str(out), "--data", str(trained.manifest), "--force"]
    assert run(arguments) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "--out", "{here}/report.txt"], "must end in .html"),
        (["{run}@zs"], "has no head 'zs'"),
        (["{here}/absent"], "is not a run folder"),
        (["{run}", "--max-samples", "-1"], "0 or more, got -1"),
        (["{run}", "--out", "{here}/there.html"], "--force"),
    ],
)
def test_what_cannot_be_done_is_exit_code_2(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.html").write_text("mine")
    assert run(["report", *(text.format(run=finished, here=tmp_path) for text in arguments)]) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "there.html").read_text() == "mine"
    assert not (tmp_path / "report.html").exists()
