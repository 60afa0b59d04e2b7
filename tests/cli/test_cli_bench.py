"""`rate bench` on real runtimes, from the command line inwards."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import jsonschema
import pytest

from rate.bench.document import BenchDocument
from rate.bench.history import COLUMNS, read_history
from rate.cli.main import run
from rate.errors import ConfigError
from rate.records import read
from rate.report.schemas import all_schemas

QUICK = ("--seconds", "0.02", "--masks", "12,20", "--batch", "4,8", "--threads", "1", "--rounds", "2")


def bench(artifact: Path, *arguments: str | Path) -> int:
    return run(["bench", str(artifact), *QUICK, *map(str, arguments)])


@pytest.fixture(scope="module")
def two_heads(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("heads") / "artifact"
    heads = [text for name in ("a", "b") for text in ("--head", f"{name}=linear:{trained.checkpoint}")]
    assert run(["export", str(trained.checkpoint), "--out", str(out), *heads]) == 0
    return out


def test_every_backend_and_rung_is_measured_and_the_document_is_as_its_schema_says(
    two_heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "bench.csv"
    assert bench(two_heads, "--json", "--csv", stored) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    jsonschema.Draft202012Validator(all_schemas()["bench"]).validate(found)
    document = tmp_path / "bench.json"
    document.write_text(captured.out)
    rows = read(document, BenchDocument, ConfigError, "").rows
    assert {(row.backend, row.precision) for row in rows} >= {("openvino", "f32"), ("onnxruntime", "f32")}
    ladder = [(batch, masks) for batch in (4, 8) for masks in (12, 20)]
    assert [(row.batch, row.masks) for row in rows] == ladder * (len(rows) // 4)
    for row in rows:
        raw, engine = row.raw_forwards_per_s, row.engine_forwards_per_s
        assert raw.min <= raw.median <= raw.max
        shares = zip(engine.rounds, raw.rounds, strict=True)
        assert row.engine_over_raw.rounds == pytest.approx([ours / bare for ours, bare in shares])
        assert row.images_per_s.median == pytest.approx(engine.median / (1 + row.masks))
    assert found["against"] is None
    assert "to measure: " in captured.err
    assert "2 rounds; images: parity sample" in captured.err
    assert read_history(stored, "--csv") == {row.identity: row for row in rows}


def test_a_planted_regression_is_flagged_and_does_not_fail(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stored figures are those of a machine a thousand times as fast."""
    path, one = tmp_path / "bench.csv", ("--backend", "onnxruntime", "--precision", "f32")
    assert bench(trained.artifact, *one, "--csv", path, "--against", path) == 0
    assert "nothing of this machine" in capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    for row in rows:
        fast = [name for name in COLUMNS if "per_s_" in name and not name.endswith("_rounds")]
        row |= {name: repr(1000 * float(row[name])) for name in fast}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    assert bench(trained.artifact, *one, "--against", path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(all_schemas()["bench"]).validate(found)
    assert found["against"]["regression"] is True
    states = {(change["quantity"], change["state"]) for change in found["against"]["compared"]}
    assert {quantity for quantity, state in states if state == "slower"} >= {"raw_forwards_per_s", "images_per_s"}
    assert bench(trained.artifact, *one, "--against", path) == 0
    assert "REGRESSION" in capsys.readouterr().out


def test_real_images_are_decoded(trained, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data", trained.manifest, "--split", "test", "--backend", "onnxruntime", "--masks", "auto")
    arguments += ("--batch", "8", "--rounds", "1")
    assert bench(trained.artifact, *arguments) == 0
    table = capsys.readouterr().out
    assert "8 images of " in table
    assert table.splitlines()[1].split()[3] == "auto"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch", "8,x"), "--batch must be whole numbers separated by commas, as 8,32,64; got '8,x'"),
        (("--masks", "12,many"), "masks must be auto or a whole number, got 'many'"),
        (("--masks", "1"), "masks must be a whole number from 2"),
        (("--backend", "cuda9"), "backend must be one of"),
        (("--rounds", "0"), "rounds must be a whole number from 1"),
        (("--split", "test"), "--split test needs the manifest"),
        (("--against", "absent.csv"), "--against absent.csv cannot be read"),
        (("--csv", "."), "--csv . is a folder"),
        (("--backend", "onnxruntime", "--precision", "bf16"), "onnxruntime does not compute in --precision bf16"),
    ],
)
def test_bad_requests_are_refused_before_any_work(
    trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments, message
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench(trained.artifact, *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_file_of_something_else_is_not_appended_to(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "thesis.csv"
    mine.write_text("chapter,pages\n1,20")  # no newline at the end
    assert bench(trained.artifact, "--csv", mine) == 2
    assert mine.read_text() == "chapter,pages\n1,20"
