"""`rate eval --corrupt` with several corruptions, from the command line: a folder of runs and its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rate.cli.main import run
from rate.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run

FEW = ("--masks", "12", "--batch", "8", "--threads", "1", "--backend", "onnxruntime")


def command(tiny_vit, out: Path, *more: str) -> list[str]:
    return ["eval", str(tiny_vit.artifact), str(tiny_vit.manifest), "--out", str(out), *FEW, *more]


def test_a_grid_and_what_shows_it(tiny_vit, tmp_path, capsys):
    out = tmp_path / "grid"
    asked = ("--corrupt", "clean,contrast", "--severities", "1,5")
    assert run(command(tiny_vit, out, *asked)) == EXIT_DONE
    printed = capsys.readouterr()
    assert printed.err.count("this model sees 32 x 32") == 1
    assert run(["show", str(out)]) == EXIT_DONE
    assert capsys.readouterr().out == printed.out
    lines = [line.split() for line in printed.out.splitlines()]
    assert ["severity", "accuracy", "PT", "IR", "runs"] in lines
    assert [line[0] for line in lines if line and line[0] in ("clean", "1", "5", "mean", "contrast")] == [
        *("clean", "1", "5", "mean", "contrast")
    ]
    assert run(["show", str(out), "--json"]) == EXIT_DONE
    assert json.loads(capsys.readouterr().out) == json.loads((out / "grid.json").read_text())
    assert run(command(tiny_vit, tmp_path / "one", "--corrupt", "contrast:5")) == EXIT_DONE
    one, other = (
        read_rows(folder, read_run(folder)).sort_by("id") for folder in (tmp_path / "one", out / "contrast-5")
    )
    assert one.drop_columns("evidence_sketch") == other.drop_columns("evidence_sketch")


def test_attention_has_its_grid_too(tiny_vit, tmp_path, capsys):
    asked = ("--saliency", "attention", "--corrupt", "contrast", "--severities", "2,4", "--batch", "4", "--json")
    arguments = ["eval", str(tiny_vit.artifact), str(tiny_vit.manifest), "--out", str(tmp_path / "grid"), *asked]
    assert run(arguments) == EXIT_DONE
    found = json.loads(capsys.readouterr().out)
    assert [one["run"] for one in found["runs"]] == ["contrast-2", "contrast-4"]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("--corrupt", "fog", "--dry-run"), "asks for 5"),
        (("--corrupt", "fog", "--faithfulness", "2"), "asks for 5"),
        (("--corrupt", "fog:3", "--severities", "1"), "nothing to choose"),
        (("--severities", "1"), "nothing to choose"),
        (("--corrupt", "fog", "--severities", "one"), "numbers from 1 to 5"),
        (("--corrupt", "mist,fog"), "no corruption"),
    ],
)
def test_what_is_refused_before_anything_is_written(tiny_vit, tmp_path, capsys, more, text):
    assert run(command(tiny_vit, tmp_path / "grid", *more)) == EXIT_USAGE
    assert text in capsys.readouterr().err
    assert not (tmp_path / "grid").exists()


def test_too_many_errors_name_the_run(tiny_vit, tmp_path, capsys):
    rows = tiny_vit.manifest.read_text().replace("1.png", "gone.png")
    data = tiny_vit.manifest.with_name("gone.csv")
    data.write_text(rows)
    arguments = ["eval", str(tiny_vit.artifact), str(data), "--out", str(tmp_path / "grid"), *FEW]
    assert run([*arguments, "--corrupt", "clean,contrast:1"]) == EXIT_FAILED
    said = capsys.readouterr().err
    assert "1 of 4 samples failed" in said
    assert str(tmp_path / "grid" / "clean") in said
