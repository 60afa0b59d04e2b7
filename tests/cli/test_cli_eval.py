"""`rate eval` and what reads its runs, on a real artifact in ONNX Runtime, from the command line inwards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from rate.artifacts.artifact import load_artifact
from rate.cli.main import run
from rate.config import Measurement
from rate.engine.make_job import job_from_artifact
from rate.errors import ConfigError
from rate.execution import Execution
from rate.records import read
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from rate.studies.explanation import ExplanationDocument

FEW = ("--masks", "24", "--batch", "8", "--threads", "1", "--backend", "onnxruntime")


def rows_of(folder: Path) -> dict[str, dict]:
    rows = read_rows(folder, read_run(folder)).to_pylist()
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows), "a sample was stored twice"
    return found


def assert_same_verdicts(one: Path, two: Path) -> None:
    first, second = rows_of(one), rows_of(two)
    assert first.keys() == second.keys()
    for key, row in first.items():
        for name in ("prediction", "correct", "valid", "valid_midpoint", "valid_absolute", "undefined_reason", "error"):
            assert second[key][name] == row[name], (key, name)
        for name in ("rma_positive", "rma_minmax", "ceiling", "floor", "area"):
            assert second[key][name] == pytest.approx(row[name], abs=1e-5), (key, name)


@pytest.fixture(scope="module")
def finished(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert run(["eval", str(trained.artifact), str(trained.manifest), "--out", str(out), *FEW]) == 0
    return out


def test_every_file_of_a_run_follows_its_schema(finished: Path, trained, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    schemas = json.loads(capsys.readouterr().out)
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for name, path in {
        "run": finished / "run.json",
        "summary": finished / "summary.json",
        "artifact": trained.artifact / "artifact.json",
        "checkpoint": trained.checkpoint / "checkpoint.json",
    }.items():
        jsonschema.validate(json.loads(path.read_text()), schemas[name])
    for row in rows_of(finished).values():
        plain = {k: v.hex() if isinstance(v, bytes) else v for k, v in row.items()}
        jsonschema.validate(plain, schemas["samples"])


def test_show_prints_what_the_summary_holds(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", str(finished), "--json"]) == 0
    stored = json.loads((finished / "summary.json").read_text())
    assert stored.pop("sha256")
    assert json.loads(capsys.readouterr().out) == stored
    assert run(["show", str(finished)]) == 0
    shown = capsys.readouterr().out
    head = json.loads((finished / "summary.json").read_text())["heads"]["lp"]
    for text in ("accuracy", "PT", "IR", "lp: 8 images", f"{head['accuracy']['value']:.3f}"):
        assert text in shown


def test_the_model_itself_gives_the_verdicts_of_its_export(trained, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(out), *FEW[:-1], "torch"]
    assert run(arguments) == 0
    assert_same_verdicts(finished, out)
    identity = read_run(out).identity
    assert (identity.backend, identity.precision) == ("torch", "f32")
    again = [*arguments[:-1], "onnxruntime"]
    assert run(again) == 2, "a run of one runtime is not continued by another"


def test_a_gpu_that_is_not_there_is_an_error_before_any_work(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(out), "--device"]
    assert run([*arguments, "cuda9"]) == 2
    assert "device must be auto, cpu, cuda, cuda:N or cuda:N,M" in capsys.readouterr().err
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        assert run([*arguments, "cuda", "--backend", "onnxruntime"]) == 2
        assert "needs CUDAExecutionProvider" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("changes", [["--batch", "32"], ["--batch", "3"], ["--threads", "2"]])
def test_batch_and_threads_change_no_verdict(trained, finished: Path, tmp_path: Path, changes: list[str]) -> None:
    arguments = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(tmp_path / "run")]
    assert run([*arguments, *FEW, *changes]) == 0
    assert_same_verdicts(finished, tmp_path / "run")


def test_a_dry_run_counts_and_writes_nothing(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert run(["eval", str(trained.artifact), str(trained.manifest), "--out", str(out), "--dry-run", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    swaps, maps = 1 + 2 * 4, 1 + 512  # a sample meets the four images of the other class; all eight maps are drawn
    assert cost["forwards"] == (8 + 1) * swaps + 8 * maps, "at most; one image in eight is swapped a second time"
    assert cost["samples"] == 8
    assert cost["seconds"] == pytest.approx(cost["forwards"] / cost["forwards_per_s"])
    assert not out.exists()


def copied(manifest: Path, folder: Path, text: str) -> Path:
    folder.mkdir()
    for path in manifest.parent.glob("*.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "manifest.csv").write_text(text)
    return folder / "manifest.csv"


def test_bad_samples_decide_the_exit_code_and_the_rest_is_kept(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = copied(trained.manifest, tmp_path / "set", trained.manifest.read_text())
    (manifest.parent / "0.png").write_bytes(b"not an image")
    arguments = ["eval", str(trained.artifact), str(manifest), "--out", str(tmp_path / "run"), *FEW]
    assert run(arguments) == 4
    said = capsys.readouterr().err
    assert "1 of 8 samples failed" in said
    assert "is not an image" in said
    assert len(rows_of(tmp_path / "run")) < 8, "the others were not worth their time"
    assert run([*arguments, "--max-errors", "1"]) == 0
    rows = rows_of(tmp_path / "run")
    assert "0.png" in rows["s0"]["error"]
    assert sum(row["error"] is None for row in rows.values()) == 7
    assert run([*arguments, "--max-errors", "0.5"]) == 0
    assert run(arguments) == 4
    assert read_run(tmp_path / "run").status == "complete", "as it was"


def test_a_run_in_which_everything_failed_never_exits_with_0(trained, tmp_path: Path) -> None:
    manifest = copied(trained.manifest, tmp_path / "set", trained.manifest.read_text())
    for path in manifest.parent.glob("*.png"):
        path.unlink()
    arguments = ["eval", str(trained.artifact), str(manifest), "--out", str(tmp_path / "run"), *FEW]
    assert run([*arguments, "--max-errors", "1000"]) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("label", "klass", 1), "label"),
        (lambda text: text.replace("s1,", "s0,"), "s0"),
        (lambda text: text.replace("dark", "ebony").replace("light", "ivory"), "none of the labels"),
        (lambda text: text.splitlines()[0] + "\n", "no rows"),
        (lambda text: text.replace("3.png", "../../3.png"), "leaves the manifest's folder"),
    ],
    ids=["missing column", "duplicate id", "foreign labels", "empty", "path out of the folder"],
)
def test_a_set_that_cannot_be_used_is_refused_before_any_work(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], change, message: str
) -> None:
    manifest = copied(trained.manifest, tmp_path / "set", change(trained.manifest.read_text()))
    assert run(["eval", str(trained.artifact), str(manifest), "--out", str(tmp_path / "run"), *FEW]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_changed_artifact_is_refused_by_file(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    for path in trained.artifact.iterdir():
        (artifact / path.name).write_bytes(path.read_bytes())
    weights = artifact / "pixels.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert run(["eval", str(artifact), str(trained.manifest), "--out", str(tmp_path / "run"), *FEW]) == 2
    assert "pixels.onnx.data has changed" in capsys.readouterr().err


def test_another_key_is_refused_with_the_difference(
    trained, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "run.json").read_bytes()
    arguments = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(finished), *FEW]
    assert run([*arguments, "--masks", "25"]) == 2
    assert "measurement.masks: 24 there, 25 now" in capsys.readouterr().err
    assert run([*arguments, "--masks", "25", "--dry-run"]) == 2
    assert (finished / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--saliency", "lime"], "saliency must be one of"),
        (["--maks", "3"], "No such option"),
        (["--save-maps", "some"], "--save-maps must be none, all, auto, or a number"),
        (["--config", "absent.toml"], "absent.toml cannot be read"),
        (["--split", "nope"], "nope"),
    ],
)
def test_a_wrong_option_is_exit_code_2(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    base = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(tmp_path / "run")]
    assert run([*base, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_flag_beats_environment_beats_file_beats_default(
    trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[eval]\nmasks = 30\nsave-maps = 'none'\n")
    base = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(tmp_path / "run"), "--dry-run", "--json"]

    def forwards(*more: str) -> int:
        assert run([*base, *more]) == 0
        return json.loads(capsys.readouterr().out)["forwards"] // 8 - 1

    assert forwards() == (8 * 8 + 9) // 8 + 513  # swaps of eight images, one of them swapped a second time; maps
    assert forwards("--config", str(config)) == 30
    monkeypatch.setenv("RATE_EVAL_MASKS", "20")
    assert forwards("--config", str(config)) == 20
    assert forwards("--config", str(config), "--masks", "10") == 10
    config.write_text("maks = 3\n")
    assert run([*base, "--config", str(config)]) == 2
    assert "sets maks, which `rate eval` does not have" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["f32", "auto"])
def test_the_effect_of_a_precision_is_counted(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    out = tmp_path / "run"
    arguments = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(out), "--masks", "24"]
    assert run([*arguments, "--backend", "openvino", "--precision", precision, "--compare-precision", "5"]) == 0
    assert "of 5 verdicts" in capsys.readouterr().err
    found = json.loads((out / "precision.json").read_text())
    assert found["reference"]["precision"] == "f32"
    assert run(["schema", "precision"]) == 0
    jsonschema.validate(found, json.loads(capsys.readouterr().out))
    assert found["heads"]["lp"]["samples"] == 5
    if precision == "f32":
        assert found["heads"]["lp"]["verdicts"] == 0
        assert found["heads"]["lp"]["max_abs_share"] < 1e-5
    assert len(rows_of(out)) == 8


def test_limit_makes_a_partial_run(trained, tmp_path: Path) -> None:
    arguments = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(tmp_path / "run"), *FEW]
    assert run([*arguments, "--limit", "2"]) == 0
    assert read_run(tmp_path / "run").status == "partial"
    assert len(rows_of(tmp_path / "run")) == 2


def test_explain_writes_a_picture_and_says_what_it_rests_on(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = trained.manifest.parent / "1.png", tmp_path / "heat.png"
    arguments = ["explain", str(trained.artifact), str(image), "--out", str(out), "--masks", "40"]
    assert run([*arguments, "--boxes", "[[0, 0, 40, 40]]", "--class", "light", "--json"]) == 0
    found = printed_explanation(tmp_path, capsys)
    assert (found.verdict, found.explained, found.picture, found.forwards) == ("map", "light", str(out), 41)
    assert found.swap is None
    assert 0 <= found.map.floor < found.map.ceiling <= 1
    assert np.asarray(Image.open(out)).shape == (448, 896, 3)
    assert run(arguments) == 0
    said = capsys.readouterr().out
    assert "prediction" in said
    assert "evidence" not in said
    assert run([*arguments, "--json"]) == 0
    found = printed_explanation(tmp_path, capsys)
    assert (found.valid, found.undefined_reason) == (None, "empty-region")
    assert found.prediction in said


def printed_explanation(folder: Path, capsys: pytest.CaptureFixture[str]) -> ExplanationDocument:
    (folder / "heat.json").write_text(capsys.readouterr().out)
    return read(folder / "heat.json", ExplanationDocument, ConfigError, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--class", "purple"], "class 'purple' is not one of head 'lp'; its classes are dark, light"),
        (["--head", "zs"], "there is no head 'zs'"),
        (["--boxes", "[1, 2]"], "must be a JSON list of"),
        (["--out", "heat.gif"], "must end in .png"),
    ],
)
def test_explain_refuses_what_it_cannot_do(
    trained, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(["explain", str(trained.artifact), str(trained.manifest.parent / "1.png"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_explain_of_a_missing_image_names_it(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", str(trained.artifact), str(tmp_path / "absent.jpg"), "--out", str(tmp_path / "x.png")]) == 2
    assert "absent.jpg" in capsys.readouterr().err


def test_shards_merge_to_the_run_of_the_whole_set(
    trained, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", str(trained.artifact), str(trained.manifest), *FEW]
    for number in (1, 2):
        assert run([*arguments, "--out", str(tmp_path / str(number)), "--shard", f"{number}/2"]) == 0
    assert run(["merge", str(tmp_path / "1"), str(tmp_path / "2"), "--out", str(tmp_path / "merged")]) == 0
    assert_same_verdicts(finished, tmp_path / "merged")
    assert run(["status", str(tmp_path / "merged")]) == 0
    assert "done     8 of 8 samples (100.0%), 0 errors" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes",
    [["--workers", "2"], pytest.param(["--runner", "ray", "--workers", "2"], marks=pytest.mark.slow)],
)
def test_several_workers_give_the_same_verdicts_and_a_clean_stdout(
    trained, finished: Path, tmp_path: Path, changes
) -> None:
    command = [sys.executable, "-m", "rate", "eval", str(trained.artifact), str(trained.manifest), *FEW, "--json"]
    command += ["--out", str(tmp_path / "run"), *changes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "complete"
    assert_same_verdicts(finished, tmp_path / "run")


def test_log_lines_are_json_where_asked(trained, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rate", "eval", str(trained.artifact), str(trained.manifest), *FEW, "--log-json"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run")], capture_output=True, text=True, timeout=120, check=True
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all({"time", "level", "message"} <= line.keys() for line in lines)
    assert [line["done"] for line in lines if line.get("event") == "progress"][-1] == 8
    again = subprocess.run([*command, "--out", str(trained.manifest)], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    error = json.loads(again.stderr.splitlines()[-1])
    assert (error["level"], error["exit_code"]) == ("error", 2)


def test_labels_that_no_class_has_are_said_before_the_run(trained, tmp_path: Path) -> None:
    manifest = Path(shutil.copytree(trained.manifest.parent, tmp_path / "set")) / "partly.csv"
    lines = trained.manifest.read_text().splitlines()
    manifest.write_text("\n".join([*lines[:-1], lines[-1].replace(",light,", ",Light,")]) + "\n")
    job = job_from_artifact(load_artifact(trained.artifact), manifest, None, Measurement(verdict="map"), Execution())
    assert any("'Light' (did you mean 'light'?)" in notice and "--classes" in notice for notice in job.notices)


def test_a_folder_of_other_files_is_refused_before_the_model_is_opened(
    trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "samples").mkdir(parents=True)
    (tmp_path / "run" / "samples" / "holiday.jpg").write_bytes(b"mine")
    monkeypatch.setattr("rate.engine.open_runner.open_runner", lambda *_: pytest.fail("the model was opened"))
    assert run(["eval", str(trained.artifact), str(trained.manifest), "--out", str(tmp_path / "run"), *FEW]) == 2
    assert "samples" in capsys.readouterr().err
    assert (tmp_path / "run" / "samples" / "holiday.jpg").read_bytes() == b"mine"
