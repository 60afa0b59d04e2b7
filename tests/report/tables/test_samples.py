"""The samples of a run in one state, by hand counts, from the command line inwards."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from function_models import evaluate, job, light
from paired_runs import write_run
from run_rows import run_json, swap_row, write_parts

from rate.backends.fake import FakeSpec
from rate.cli.main import run
from rate.report.heads import load_heads
from rate.report.schemas import all_schemas
from rate.report.tables.samples import listed

STATES = {"zs": ["rr", "rw", "wr", "ww", "undefined_right", "undefined_wrong", "error"], "lp": ["rw"] * 7}
KINDS = {
    "wrong": ["s002", "s003", "s005"],
    "invalid": ["s001", "s003"],
    "undefined": ["s004", "s005"],
    "errors": ["s006"],
}


@pytest.mark.parametrize("verdict", ["swap", "map"])
@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_a_kind_are_those_of_a_hand_count(tmp_path: Path, verdict: str, kind: str) -> None:
    folder = write_run(tmp_path / "run", STATES, verdict=verdict)
    found = listed(load_heads(f"{folder}@zs"), kind)
    assert [sample.id for sample in found.samples] == KINDS[kind]
    assert found.count == len(KINDS[kind])
    both = [sample.id for sample in listed(load_heads(str(folder)), kind).samples]
    assert both == KINDS[kind] + ([f"s{k:03d}" for k in range(7)] if kind == "invalid" else [])


@pytest.mark.parametrize(
    ("verdict", "quantity", "shown"),
    [("swap", "share of the region", "0.300 ± 0.050"), ("map", "localization", "0.167")],
)
def test_the_value_is_the_one_that_decides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verdict: str, quantity: str, shown: str
) -> None:
    folder = write_run(tmp_path / "run", STATES, verdict=verdict)
    assert run(["show", f"{folder}@zs", "--samples", "invalid"]) == 0
    printed = capsys.readouterr().out
    assert f"{folder}: 2 on invalid evidence" in printed
    assert quantity in printed
    assert shown in printed
    assert run(["show", str(folder), "--samples", "errors", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, all_schemas()["sample-list"])
    assert document["quantity"] == quantity
    assert [(one["id"], one["error"]) for one in document["samples"]] == [("s006", "broken")]


def test_a_real_run_lists_its_shares(image_set, tmp_path: Path) -> None:
    evaluate(job(image_set(12), verdict="swap"), FakeSpec(light), tmp_path / "run")
    [head] = load_heads(f"{tmp_path / 'run'}@b")
    rows = {row["id"]: row for row in head.rows().to_pylist()}
    found = listed([head], "invalid")
    assert {sample.id for sample in found.samples} == {name for name, row in rows.items() if row["valid"] is False}
    assert found.samples
    for sample in found.samples:
        assert (sample.value, sample.value_se) == (rows[sample.id]["share"], rows[sample.id]["share_se"])


def test_a_long_list_is_cut_in_the_table_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", {"zs": ["ww"] * 60})
    assert run(["show", str(folder), "--samples", "wrong"]) == 0
    printed = capsys.readouterr().out
    assert "60 predicted wrong, the first 50; --json lists all" in printed
    assert "s049" in printed
    assert "s050" not in printed
    assert run(["show", str(folder), "--samples", "wrong", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["samples"]) == 60


def test_one_head_of_several_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", STATES)
    assert run(["show", f"{folder}@lp", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["heads"]) == ["lp"]
    assert run(["show", f"{folder}@ft"]) == 2
    assert "has no head 'ft'; it has zs, lp" in capsys.readouterr().err
    assert run(["show", str(folder), "--samples", "bad"]) == 2


def test_the_worst_of_a_kind_come_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        swap_row(f"s{k}", "zs", state, share=share, **{} if probability is None else {"probability": probability})
        for k, (state, share, probability) in enumerate(
            [
                ("rw", 0.4, None),
                ("rw", 0.1, None),
                ("rr", 0.9, None),
                ("wr", 0.6, 0.5),
                ("ww", 0.2, 0.9),
                ("wr", 0.7, 0.7),
            ]
        )
    ]
    folder = write_parts(tmp_path / "run", run_json(["zs"], len(rows), "swap"), [rows[:3], rows[3:]])
    for kind, worst in (("invalid", ["s1", "s4", "s0"]), ("wrong", ["s4", "s5", "s3"])):
        for top in (1, 2, 3):
            found = listed(load_heads(str(folder)), kind, top)
            assert [sample.id for sample in found.samples] == worst[:top]
            assert found.count == 3
    assert run(["show", str(folder), "--samples", "wrong", "--top", "2"]) == 0
    assert "3 predicted wrong, the 2 worst" in capsys.readouterr().out
    assert run(["show", str(folder), "--top", "2"]) == 2
    assert "--top is of --samples" in capsys.readouterr().err
