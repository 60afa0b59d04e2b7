"""Runs of generative models: each row is asked its own question, and a planted answer is found where it lies."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from rate.artifacts.artifact import Artifact, load_artifact
from rate.backends.base import Backend, Pending
from rate.cli.main import run
from rate.config import Measurement
from rate.engine.choose_backend import open_backend
from rate.engine.engine import InProcess
from rate.engine.evaluate import evaluate
from rate.engine.make_job import job_from_artifact
from rate.errors import DataError
from rate.execution import Execution
from rate.export.export import ExportOptions, export_artifact
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from rate.runs.summary.summarise import Summary
from rate.types import Rows
from tests.vlm_models import save

SWAPS, SIDE = Measurement(fills=4, tau=0.5), 28
CUE, BESIDE = (2, 2, 14, 14), (14, 14, 28, 28)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("red")
    return export_artifact(save("red", folder / "model"), folder / "artifact", ExportOptions())


@pytest.fixture(scope="module")
def backend(artifact: Artifact) -> Iterator[Backend]:
    with open_backend(artifact, Execution(threads=1)) as opened:
        yield opened


def cued(folder: Path, region: tuple[int, int, int, int], count: int = 12, name: str = "set.csv") -> Path:
    """Pictures with a red or a blue square, which is what the model looks at; two kinds of questions ask for it."""
    chance = random.Random(0)
    rows = []
    for k in range(count):
        grey = chance.randrange(90, 160)
        picture = Image.new("RGB", (SIDE, SIDE), (grey + 19, chance.randrange(90, 160), grey))
        ImageDraw.Draw(picture).rectangle((CUE[0], CUE[1], CUE[2] - 1, CUE[3] - 1), ("blue", "red")[k % 2])
        picture.save(folder / f"{k}.png")
        options = "yes|no" if k % 3 else "cat|no|yes"
        asked = "is there a red square?" if k % 3 else "a red square , a cat or none of this?"
        rows.append([f"{k}.png", asked, options, ("no", "yes")[k % 2], *region])
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([("image", "question", "options", "label", "x0", "y0", "x1", "y1"), *rows])
    return folder / name


def evaluated(
    artifact: Artifact, backend: Any, data: Path, out: Path, measurement: Measurement = SWAPS, **settings: Any
) -> Summary:
    execution = Execution(**{"save_maps": 0, "threads": 1} | settings)
    job = job_from_artifact(artifact, data, None, measurement, execution)
    return evaluate(job, InProcess(backend), out, part_rows=4)


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_rows(out, read_run(out)).to_pylist()}


MAPS = {"saliency": "rise", "masks": 80, "grid": 4}
WAYS = {
    "swap": SWAPS,
    "rise": Measurement(**MAPS),
    "rise on pictures": Measurement(**MAPS, fill="pictures", verdict="map"),
    "occlusion": Measurement(saliency="occlusion", window=7, stride=7),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_cue_is_found_in_the_region_and_missed_beside_it(
    artifact: Artifact, backend: Backend, tmp_path: Path, way: str
) -> None:
    for region, valid in ((CUE, 1.0), (BESIDE, 0.0)):
        out = tmp_path / str(valid)
        summary = evaluated(artifact, backend, cued(tmp_path, region), out, WAYS[way])
        head = summary.heads["answer"]
        assert (head.accuracy.value, head.pt.ratio.value) == (1.0, valid)
        rows = rows_of(out).values()
        assert {row["error"] for row in rows} == {None}
        assert sum(row["undefined_reason"] is None for row in rows) >= 6
        assert {row["explained"] for row in rows} == {"yes", "no"}
        assert min(row["effect"] for row in rows) > 0


def test_the_score_is_the_log_odds_of_the_answer_over_the_options(
    artifact: Artifact, backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The share of a row is computed here from the logits of its own options on its own rows."""
    data = cued(tmp_path, CUE)
    seen: list[tuple[Rows, np.ndarray]] = []

    submit = type(backend).submit

    def watched(self: Any, rows: Rows) -> Pending:
        pending = submit(self, rows)
        seen.append((rows, pending.wait()["answer"]))
        return pending

    monkeypatch.setattr(type(backend), "submit", watched)
    evaluated(artifact, backend, data, tmp_path / "run", batch=13)
    assert read_run(tmp_path / "run").rule.score == "log-odds"
    assert [(head.name, head.classes, head.asks) for head in read_run(tmp_path / "run").heads] == [("answer", 0, True)]
    logits = next(values for _, values in seen)  # a sample takes 13 rows: itself, and three for each of four fills
    row = rows_of(tmp_path / "run")["0.png"]
    options = ("cat", "no", "yes")
    own = options.index(row["label"])
    others = [column for column in range(3) if column != own]
    odds = logits[:, own] - np.log(np.exp(logits[:, others].astype(np.float64)).sum(axis=1))
    inside, outside, nothing = odds[1::3], odds[2::3], odds[3::3]
    region = (odds[0] - outside.mean() + inside.mean() - nothing.mean()) / 2
    rest = (odds[0] - inside.mean() + outside.mean() - nothing.mean()) / 2
    np.testing.assert_allclose([row["phi_region"], row["phi_rest"]], [region, rest], atol=1e-5)
    np.testing.assert_allclose(row["effect"], odds[0] - nothing.mean(), atol=1e-5)
    assert row["forwards"] == 13


SAME = ("prediction", "correct", "explained", "valid", "undefined_reason", "forwards", "settled", "fills")


def test_batch_size_order_and_resumption_change_nothing(
    artifact: Artifact, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = cued(tmp_path, CUE)
    header, *lines = data.read_text().splitlines()
    (tmp_path / "turned.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")
    usual = Measurement()
    evaluated(artifact, backend, data, tmp_path / "whole", usual)
    evaluated(artifact, backend, data, tmp_path / "small", usual, batch=5)
    evaluated(artifact, backend, tmp_path / "turned.csv", tmp_path / "turned", usual, batch=9)
    calls, submit = iter(range(100)), backend.submit

    def interrupted(rows: Rows) -> Pending:
        if next(calls) == 6:
            raise KeyboardInterrupt
        return submit(rows)

    monkeypatch.setattr(backend, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluated(artifact, backend, data, tmp_path / "cut", usual)
    monkeypatch.undo()
    assert read_run(tmp_path / "cut").status == "partial"
    assert 0 < len(rows_of(tmp_path / "cut")) < 12
    evaluated(artifact, backend, data, tmp_path / "cut", usual)
    whole = rows_of(tmp_path / "whole")
    for name in ("small", "turned", "cut"):
        other = rows_of(tmp_path / name)
        assert other.keys() == whole.keys()
        for identifier, row in whole.items():
            assert {key: other[identifier][key] for key in SAME} == {key: row[key] for key in SAME}
            np.testing.assert_allclose(other[identifier]["share"], row["share"], atol=1e-4)
    assert read_run(tmp_path / "small").key == read_run(tmp_path / "whole").key


def test_options_that_begin_alike_stop_the_run(artifact: Artifact, backend: Backend, tmp_path: Path) -> None:
    data = cued(tmp_path, CUE)
    data.write_text(data.read_text().replace("a cat or none of this?", "a cat?").replace("cat|no|yes", "no cat|no|yes"))
    with pytest.raises(DataError, match=r"the options 'no cat' and 'no' of .* begin with the same token 'no'"):
        evaluated(artifact, backend, data, tmp_path / "run")


def test_a_set_without_questions_is_refused_and_one_beside_another_too(
    artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = cued(tmp_path, CUE)
    rows = list(csv.reader(data.read_text().splitlines()))
    for name, columns in (("none", [0, 3, 4, 5, 6, 7]), ("half", [0, 1, 3, 4, 5, 6, 7])):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([[row[column] for column in columns] for row in rows])
        assert run(["eval", str(artifact.path), str(tmp_path / f"{name}.csv"), "--out", str(tmp_path / "run")]) == 2
        assert "12 rows ask nothing" in capsys.readouterr().err


def test_what_needs_another_model_is_refused_by_name(
    artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, place = cued(tmp_path, CUE), str(artifact.path)
    evaluation = ["eval", place, str(data), "--out", str(tmp_path / "run")]
    refused = {
        ("--saliency", "attention"): "the image tower behind the artifact",
        ("--saliency", "rise-tokens"): "runs in PyTorch alone, in f32, fp16 or bf16, and has no graph",
        ("--backend", "onnxruntime"): "runs in PyTorch alone, in f32, fp16 or bf16, and has no graph",
        ("--precision", "int8"): "runs in PyTorch alone, in f32, fp16 or bf16, and has no graph",
        ("--score", "logit"): "of a generative model it is log-odds",
        ("--faithfulness", "2"): "--faithfulness compares with a model of shuffled weights",
    }
    for words, said in refused.items():
        assert run([*evaluation, *words]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run" / "run.json").exists()
    picture = str(tmp_path / "0.png")
    for command in (["explain", place, picture, "--out", str(tmp_path / "x.png")], ["bench", place]):
        assert run(command) == 2
        assert "is a generative model, which needs a question a row" in " ".join(capsys.readouterr().err.split())


def test_a_dry_run_says_what_a_run_costs(
    artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = cued(tmp_path, CUE)
    words = ["eval", str(artifact.path), str(data), "--out", str(tmp_path / "run"), "--fills", "4"]
    words += ["--save-maps", "none"]
    assert run([*words, "--dry-run", "--threads", "1"]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert lines["forwards"].startswith("182 at ")  # 13 of each of 12 samples, and of the two along other regions
    assert lines["tokens"].startswith("about 3")
    assert not (tmp_path / "run").exists()


def test_an_artifact_is_inspected_and_its_folder_must_not_change(
    artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(artifact.path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "head answer (options): the options of each row's question" in text
    assert "runs in PyTorch alone, on the torch path: it is exported to neither ONNX nor TensorRT" in text
    folder = tmp_path / "model"
    own = export_artifact(save("llava", folder), tmp_path / "artifact", ExportOptions())
    assert load_artifact(own.path).digest == own.digest != artifact.digest
    (folder / "chat_template.jinja").write_text("{{ '<image>' }} is it ?")
    words = ["eval", str(own.path), str(cued(tmp_path, CUE)), "--out", str(tmp_path / "run")]
    assert run(words) == 2
    assert "is no longer what" in " ".join(capsys.readouterr().err.split())
    for option in (["--tokens"], ["--precision", "fp16"], ["--format", "tensorrt"], ["--size", "28"]):
        assert run(["export", f"hf-vlm:{folder}", "--out", str(tmp_path / "new"), *option]) == 2
        capsys.readouterr()
    assert not (tmp_path / "new").exists()
