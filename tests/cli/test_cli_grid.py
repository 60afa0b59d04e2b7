"""`rate grid wise`: a run for each alpha, the first that of the model itself; resumed, and kept apart."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from safetensors.torch import save_file

from rate.cli.main import run
from rate.export.sources.families import open_clip
from rate.export.sources.source_string import parse_source
from rate.report.schemas import all_schemas
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run

FEW = ("--fills", "4", "--backend", "onnxruntime", "--threads", "1")


@pytest.mark.slow
def test_a_curve_begins_with_the_runs_of_its_models(tiny_vit, image_set, tmp_path: Path, capsys) -> None:
    weights = open_clip.load(parse_source(tiny_vit.source)).model.state_dict()
    save_file({name: 1.5 * value.float() for name, value in weights.items()}, tmp_path / "tuned.safetensors")
    ends = (tiny_vit.source, f"{tiny_vit.source}:{tmp_path / 'tuned.safetensors'}")
    curve, own = tmp_path / "curve", tmp_path / "own"
    data = str(image_set(8))
    asked = ["grid", "wise", *ends, data, "--classes", str(tiny_vit.classes), *FEW, "--out", str(curve)]

    assert run([*asked, "--alphas", "0", "--split", "test"]) == 0
    assert run([*asked, "--alphas", "0,0.5", "--split", "test", "--json"]) == 0  # the first one is there
    told = capsys.readouterr()
    assert told.err.count("exporting the graph") == 2
    document = json.loads(told.out[told.out.index("{") :])
    jsonschema.validate(document, all_schemas()["wise"])
    assert document == json.loads((curve / "wise.json").read_text())
    assert [(one["run"], one["alpha"]) for one in document["runs"]] == [("alpha-0", 0.0), ("alpha-0.5", 0.5)]

    assert run(["eval", str(tiny_vit.artifact), data, "--out", str(own), *FEW]) == 0
    assert read_rows(curve / "alpha-0", read_run(curve / "alpha-0")).equals(read_rows(own, read_run(own)))
    summary = json.loads((own / "summary.json").read_text())["heads"]["zs"]
    first = document["runs"][0]["heads"]["zs"]
    assert first == {name: summary[name] for name in first}

    for wrong, message in (
        ([*asked[:2], *reversed(ends), *asked[4:], "--alphas", "0"], "was exported from wise:0:"),
        ([*asked, "--tau", "0.6", "--alphas", "0"], "alpha-0 holds a run with other settings"),
    ):
        assert run(wrong) == 2
        assert message in capsys.readouterr().err


def test_a_set_that_is_not_there_is_refused_before_anything_is_exported(tiny_vit, tmp_path: Path, capsys) -> None:
    asked = ["grid", "wise", tiny_vit.source, tiny_vit.source, str(tmp_path / "none.csv")]
    assert run([*asked, "--classes", str(tiny_vit.classes), "--out", str(tmp_path / "curve")]) == 2
    told = capsys.readouterr()
    assert "none.csv does not exist; DATA is a manifest" in told.err
    assert "exporting" not in told.err
    assert not (tmp_path / "curve").exists()
