"""What other tools hold of a run after `rate log` is read back by them."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from function_models import evaluate, job, light
from huggingface_hub import ModelCard

import rate
from rate.backends.fake import FakeSpec
from rate.cli.main import run
from rate.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE
from rate.report.heads import load_head
from rate.report.log.model_card import data_of
from rate.report.log.trackers import identity
from tests.conftest import write_images

SHARES = ["accuracy", "background_only", "gap", "ir", "judged_accuracy", "object_only", "pt"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("log")
    evaluate(job(write_images(root / "set", 16, 40), verdict="swap", fills=4), FakeSpec(light), root / "run")
    return root / "run"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_mlflow_holds_a_run_of_each_head(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert run(["log", str(finished), "--to", "mlflow", "--max-samples", "0"]) == EXIT_DONE
    said = capsys.readouterr().out.splitlines()
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("rate")
    kept = {one.info.run_name: one for one in client.search_runs([experiment.experiment_id])}
    assert kept.keys() == {"run@a", "run@b"}
    for name, one in kept.items():
        head = load_head(f"{finished}@{name[4:]}")
        trust, rule = head.summary.pt, head.summary.rule
        low, high = trust.ratio.interval or (None, None)
        metrics, params = one.data.metrics, one.data.params
        assert (metrics["pt"], metrics["pt_low"], metrics["pt_high"]) == (trust.ratio.value, low, high)
        assert (metrics["pt_uniform"], metrics["pt_shuffled"]) == (trust.uniform, trust.shuffled)
        assert (metrics.get("ir"), metrics["accuracy"]) == (head.summary.ir.ratio.value, head.summary.accuracy.value)
        assert (metrics["samples"], metrics["gap"]) == (16, head.summary.swap.gap.value)
        assert (params["rule.verdict"], params["rule.fills"], params["rule.tau"]) == ("swap", "4", str(rule.tau))
        assert (params["key"], params["data_digest"]) == (head.run.key, head.run.identity.data)
        assert one.info.status == "FINISHED"
        files = {file.path for file in client.list_artifacts(one.info.run_id)}
        assert files == {"report.html", "run.json", "summary.json"}
        assert "<html" in Path(client.download_artifacts(one.info.run_id, "report.html")).read_text()
        assert any(one.info.run_id in line for line in said)
    shutil.copytree(finished, tmp_path / "moved")
    again = rate.log(tmp_path / "moved", "mlflow", max_samples=0)  # the same numbers, so the same runs
    assert sorted(again) == sorted(said)
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_what_mlflow_refuses_is_said_with_its_own_cure(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    assert run(["log", f"{finished}@a", "--to", "mlflow", "--max-samples", "0"]) == EXIT_FAILED
    assert "did not take run@a" in (said := capsys.readouterr().err)
    assert "MLFLOW_ALLOW_FILE_STORE=true" in said


def test_a_model_card_is_written_and_read_back(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["log", f"{finished}@a", "--to", "model-card"]) == EXIT_DONE
    assert capsys.readouterr().out.split() == ["rate-report.html", "README.md"]
    card, head = ModelCard.load(tmp_path / "README.md"), load_head(f"{finished}@a")
    results = {one.metric_type: one for one in card.data.eval_results or ()}
    trust = results["pt"]
    assert results.keys() == set(SHARES)
    assert trust.metric_value == head.summary.pt.ratio.value
    assert (trust.metric_args["low"], trust.metric_args["high"]) == head.summary.pt.ratio.interval
    assert trust.metric_args["uniform"] == head.summary.pt.uniform
    assert trust.metric_args["rule"]["verdict"] == "swap"
    assert trust.dataset_args == {"digest": head.run.identity.data, "samples": 16}
    assert (trust.task_type, trust.dataset_name) == ("image-classification", "manifest.csv")
    assert f"| PT, prediction trustworthiness | {trust.metric_value:.3f} |" in card.text
    assert "[Report](rate-report.html)" in card.text
    assert (tmp_path / "rate-report.html").is_file()
    assert run(["log", f"{finished}@a", "--to", "model-card"]) == EXIT_USAGE
    assert "--force" in capsys.readouterr().err


CARD = """---
license: mit
model-index:
- name: cat-finder
  results:
  - task: {type: image-classification}
    dataset: {name: other, type: other}
    metrics:
    - {type: accuracy, value: 0.25}
---

# Cats

Its own words.
"""


def test_results_are_added_to_a_card_once(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text(CARD)
    for _ in range(2):
        assert run(["log", f"{finished}@b", "--to", "hub-eval", "--out", "card.md"]) == EXIT_DONE
    card = ModelCard.load(tmp_path / "card.md")
    assert (card.data.model_name, card.data.license) == ("cat-finder", "mit")
    named = [(one.dataset_name, one.metric_type) for one in card.data.eval_results or ()]
    assert named[0] == ("other", "accuracy")
    assert sorted(named[1:]) == [("manifest.csv", metric) for metric in SHARES if metric != "ir"]  # undefined
    assert "Its own words." in card.text


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("hf://datasets/ada/birds", ("ada/birds", None)),
        ("hf://datasets/ada/birds@main/data/test-*.parquet", ("ada/birds", "main")),
        ("hf://datasets/ada/birds@refs/convert/parquet/a/test", ("ada/birds", "refs/convert/parquet")),
        ("hf://datasets/ada", ("ada", None)),
        ("s3://bucket/sets/birds.csv", ("birds.csv", None)),
    ],
)
def test_a_set_on_the_hub_is_named_as_there(named: str, expected: tuple[str, str | None]) -> None:
    assert data_of(named) == expected


def records(content: bytes) -> Iterator[bytes]:
    """The records of a `.wandb` file: LevelDB's log format, blocks of 32 KiB, behind 7 bytes of wandb's own."""
    at, whole = 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield whole
            whole = b""


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_weights_and_biases_holds_a_run_offline(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert run(["log", f"{finished}@a", "--to", "wandb", "--max-samples", "0"]) == EXIT_DONE
    wandb.teardown()  # or else the next test has these settings, too
    [path] = Path(capsys.readouterr().out.split(": ")[1].strip()).glob("run-*.wandb")
    assert path.name == f"run-{identity(load_head(f'{finished}@a'))}.wandb"
    stored = [Record.FromString(one) for one in records(path.read_bytes())]
    summary = {item.key: json.loads(item.value_json) for one in stored for item in one.summary.update if item.key}
    config = {item.key: json.loads(item.value_json) for one in stored for item in one.run.config.update}
    head = load_head(f"{finished}@a")
    assert (summary["pt"], summary["pt_low"]) == (head.summary.pt.ratio.value, head.summary.pt.ratio.low)
    assert (config["key"], config["rule.verdict"]) == (head.run.key, "swap")
    [artifact] = [one.artifact for one in stored if one.HasField("artifact")]
    assert {one.path for one in artifact.manifest.contents} == {"report.html", "run.json", "summary.json"}


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_weights_and_biases_without_a_key_asks_nothing(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")
    assert run(["log", f"{finished}@a", "--to", "wandb"]) == EXIT_USAGE
    assert "WANDB_MODE=offline" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "--to", "model-card"], "has 2 heads and one is needed"),
        (["{run}@a", "--to", "mlflow", "--out", "card.md"], "--out and --force are for cards"),
        (["{run}@a", "--to", "hub-eval", "--out", "absent.md"], "there is no model card"),
        (["{run}@a", "--to", "hub-eval", "--out", "broken.md"], "no model card whose metadata can be read"),
        (["{partial}@a", "--to", "mlflow"], "run@a is partial"),
        (["{run}@a", "--to", "fiftyone"], "fiftyone"),
    ],
)
def test_what_cannot_be_done_is_exit_code_2(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    partial = shutil.copytree(finished, tmp_path / "partial" / "run")
    about = json.loads((partial / "run.json").read_text())
    about.pop("sha256", None)  # as whoever edits it by hand has to
    (partial / "run.json").write_text(json.dumps(about | {"status": "partial"}))
    (tmp_path / "broken.md").write_text("---\nmodel-index: 3\n---\n")
    assert run(["log", *(one.format(run=finished, partial=partial) for one in arguments)]) == EXIT_USAGE
    assert message in " ".join(capsys.readouterr().err.split())
