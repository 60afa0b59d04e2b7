"""`rate grid wise`: a run for each alpha, the first that of the model itself; resumed, shown, and kept apart."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
from safetensors.torch import save_file

from rate.cli.main import run
from rate.export.sources.families import open_clip
from rate.export.sources.source_string import parse_source
from rate.report.schemas import all_schemas
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run

FEW = ("--fills", "4", "--backend", "onnxruntime", "--threads", "1")


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

    capsys.readouterr()
    assert run(["show", str(curve)]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == "zs: 2 runs of 8 images"
    assert "alpha" in shown
    assert "object-only" in shown
    assert run(["status", str(curve)]) == 0
    assert "2 of 2 runs complete" in capsys.readouterr().out

    for wrong, message in (
        ([*asked, "--alphas", "0,2"], "--alphas must be numbers from 0 to 1"),
        ([*asked[:2], *reversed(ends), *asked[4:], "--alphas", "0"], "was exported from wise:0:"),
        ([*asked, "--out", str(own)], "is one run, and several are to be written"),
    ):
        assert run(wrong) == 2
        assert message in capsys.readouterr().err
    assert run([*asked, "--tau", "0.6", "--alphas", "0"]) == 2
    assert "alpha-0 holds a run with other settings" in capsys.readouterr().err
