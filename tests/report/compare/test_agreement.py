"""AgreementDocument of verdicts between two measurements of one model, counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from function_models import evaluate, job, light
from paired_runs import write_run
from scipy.stats import spearmanr

from rate.backends.fake import FakeSpec
from rate.cli.main import run
from rate.errors import RunError
from rate.report.compare.agreement import AgreementDocument, VerdictTable, WithoutVerdict, agreement
from rate.report.heads import load_head
from rate.report.schemas import all_schemas

FIRST = ["rr", "rr", "ww", "rw", "wr", "undefined_right", "rr", "undefined_wrong", "error"]
SECOND = ["rr", "rw", "wr", "rw", "wr", "rr", "undefined_right", "undefined_wrong", "rr"]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    one = write_run(tmp_path / "rise", {"h": FIRST}, weights="w", measurement={"saliency": "rise"})
    other = write_run(tmp_path / "attention", {"h": SECOND}, weights="w", measurement={"saliency": "attention"})
    return one, other


def of(folders: tuple[Path, Path]) -> AgreementDocument:
    return agreement(*(load_head(str(folder)) for folder in folders))


def test_counts_are_those_of_a_hand_count(folders) -> None:
    found = of(folders)
    assert found.table == VerdictTable(2, 1, 1, 1)
    assert found.undefined == WithoutVerdict(2, 1, 1)
    assert (found.equal.numerator, found.equal.denominator) == (3, 5)
    assert found.kappa == pytest.approx((0.6 - 0.52) / 0.48)
    assert found.rank_correlation == pytest.approx(1 / 6)


def test_a_run_agrees_with_itself_and_the_other_way_round_is_the_same(folders) -> None:
    same = of((folders[0], folders[0]))
    assert (same.equal.value, same.kappa, same.rank_correlation) == (1.0, 1.0, pytest.approx(1.0))
    there, back = of(folders), of(folders[::-1])
    assert (there.table.only_first, there.kappa) == (back.table.only_second, back.kappa)


def test_the_command_prints_a_table_or_json_by_schema(folders, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["agree", *map(str, folders), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, all_schemas()["agreement"])
    assert printed["table"] == {"both": 2, "only_first": 1, "only_second": 1, "neither": 1}
    assert run(["agree", *map(str, folders)]) == 0
    shown = capsys.readouterr().out
    for text in ("rise@h against attention@h: 5 images", "equal 0.600 (3/5", "kappa 0.167", "in the first only 2"):
        assert text in shown


def test_another_model_or_set_is_refused(folders, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", {"h": FIRST}, weights="v", data="e" * 64)
    with pytest.raises(RunError, match=r"differ in weights and data: .*rate compare"):
        of((folders[0], other))
    with pytest.raises(RunError, match="differ in head"):
        of((folders[0], write_run(tmp_path / "head", {"g": FIRST}, weights="w")))


def test_runs_without_any_verdict_have_no_agreement(tmp_path: Path) -> None:
    none = write_run(tmp_path / "none", {"h": ["undefined_right", "error"]}, weights="w")
    found = of((none, none))
    assert (found.judged, found.equal.value, found.kappa, found.rank_correlation) == (0, None, None, None)


def test_swaps_agree_with_a_map_sample_by_sample(image_set, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The share is held against the localization, which both are compared with tau."""
    for verdict in ({"verdict": "swap", "fills": 6}, {"verdict": "map", "masks": 200, "grid": 4}):
        evaluate(
            job(image_set(16, folder=f"set-{verdict['verdict']}"), **verdict),
            FakeSpec(light),
            tmp_path / verdict["verdict"],
        )
    one, other = (load_head(f"{tmp_path / name}@b") for name in ("swap", "map"))
    found = agreement(one, other)
    rows = [{row["id"]: row for row in head.rows().to_pylist() if row["valid"] is not None} for head in (one, other)]
    both = sorted(rows[0].keys() & rows[1].keys())
    equal = sum(rows[0][name]["valid"] == rows[1][name]["valid"] for name in both)
    assert (found.equal.numerator, found.equal.denominator) == (equal, len(both))
    assert len(both) > 8
    shares, places = [rows[0][name]["share"] for name in both], [rows[1][name]["localization"] for name in both]
    assert found.rank_correlation == pytest.approx(spearmanr(shares, places).statistic)
    assert run(["agree", f"{one.folder}@b", f"{other.folder}@b"]) == 0
    assert "rank correlation of the share of the region and the localization" in " ".join(
        capsys.readouterr().out.split()
    )
