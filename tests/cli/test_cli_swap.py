"""`rate eval --verdict swap` on a real artifact in ONNX Runtime, against a computation in PyTorch and numpy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rate.artifacts.artifact import load_artifact
from rate.cli.main import run
from rate.config import Measurement
from rate.data.images.prepare import prepare
from rate.engine.make_job import job_from_artifact
from rate.execution import Execution
from rate.export.sources.reopen import reopen
from rate.kernels.region import hidden_steps, sketch
from rate.kernels.score import score
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from tests.conftest import write_images

SWAP = ("--verdict", "swap", "--batch", "8", "--threads", "1", "--backend", "onnxruntime", "--save-maps", "none")


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("twenty") / "set", 20, 80)


@pytest.fixture(scope="module")
def swapped(trained, twenty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("swapped") / "run"
    assert run(["eval", str(trained.artifact), str(twenty), "--out", str(out), *SWAP]) == 0
    return out


def rows_of(folder: Path) -> dict[str, dict]:
    return {row["id"]: row for row in read_rows(folder, read_run(folder)).to_pylist()}


def assert_same(one: Path, two: Path) -> None:
    first, second = rows_of(one), rows_of(two)
    assert first.keys() == second.keys()
    for key, row in first.items():
        for name in ("prediction", "valid", "fills", "undefined_reason", "settled", "content"):
            assert second[key][name] == row[name], (key, name)
        for name in ("share", "phi_region", "phi_rest"):
            assert second[key][name] == pytest.approx(row[name], abs=1e-5), (key, name)


def test_shares_are_those_of_torch_and_numpy(trained, twenty: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(["eval", str(trained.artifact), str(twenty), "--out", str(out), *SWAP, "--fills", "6"]) == 0
    artifact, rows = load_artifact(trained.artifact), rows_of(out)
    job = job_from_artifact(artifact, str(twenty), None, Measurement(verdict="swap", fills=6), Execution())
    model = reopen(artifact)
    [head] = artifact.heads

    def scores(pixels: list[np.ndarray], column: int) -> np.ndarray:
        with torch.inference_mode():
            features = model.tower(torch.from_numpy(np.stack(pixels).astype(np.float32)))
            return score(model.heads[0].module(features).numpy().astype(np.float64), column, "centred")

    pictures = [prepare(picture, artifact.geometry) for picture in job.bank.pictures]
    regions = np.stack([sketch(picture.region) for picture in pictures])
    for sample in job.samples:
        prepared, column, row = prepare(sample, artifact.geometry), head.classes.index(sample.label), rows[sample.id]
        order = job.bank.order(sample)
        hidden = hidden_steps(regions[order], sketch(prepared.region))
        most_hidden = np.sort(np.argsort(-hidden, kind="stable")[:6])
        met = [pictures[k].picture.pixels for k in order[most_hidden]]
        whole = scores([prepared.picture.pixels], column)[0]
        alone = scores([np.where(prepared.region, prepared.picture.pixels, fill) for fill in met], column).mean()
        without = scores([np.where(prepared.region, fill, prepared.picture.pixels) for fill in met], column).mean()
        nothing = scores(met, column).mean()
        phi, rest = (whole - without + alone - nothing) / 2, (whole - alone + without - nothing) / 2
        assert row["phi_region"] == pytest.approx(phi, abs=1e-5)
        assert row["phi_rest"] == pytest.approx(rest, abs=1e-5)
        if max(phi, rest) > 1e-3:
            assert row["share"] == pytest.approx(max(phi, 0) / (max(phi, 0) + max(rest, 0)), abs=1e-4)


@pytest.mark.parametrize("changes", [["--batch", "32"], ["--workers", "2"]])
def test_batch_and_workers_change_no_verdict(
    trained, twenty: Path, swapped: Path, tmp_path: Path, changes: list[str]
) -> None:
    out = tmp_path / "run"
    assert run(["eval", str(trained.artifact), str(twenty), "--out", str(out), *SWAP, *changes]) == 0
    assert_same(swapped, out)


def test_tar_shards_of_the_set_give_the_verdicts_of_its_manifest(
    trained, twenty: Path, swapped: Path, tmp_path: Path
) -> None:
    assert run(["data", "pack", str(twenty), "--out", str(tmp_path / "shards")]) == 0
    shards = sorted((tmp_path / "shards").glob("*.tar"))
    data = str(shards[0]) if len(shards) == 1 else str(tmp_path / "shards" / "*.tar")
    assert run(["eval", str(trained.artifact), data, "--out", str(tmp_path / "run"), *SWAP]) == 0
    assert_same(swapped, tmp_path / "run")


def test_a_picture_that_is_broken_is_replaced_and_named(
    trained, twenty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (twenty.parent / "5.png").rename(twenty.parent / "5.away")
    try:
        arguments = ["eval", str(trained.artifact), str(twenty), "--out", str(tmp_path / "run"), *SWAP]
        assert run([*arguments, "--max-errors", "1"]) == 0
    finally:
        (twenty.parent / "5.away").rename(twenty.parent / "5.png")
    assert "not in the bank of pictures: s5" in capsys.readouterr().err
    bank = read_run(tmp_path / "run").bank
    assert len(bank.pictures) == 19
    assert bank.skipped[0].startswith("s5: ")


def test_a_bank_that_changed_is_another_run(
    trained, twenty: Path, swapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["eval", str(trained.artifact), str(twenty), "--out", str(swapped), *SWAP]
    assert run([*again, "--seed", "1"]) == 2
    assert "bank" in capsys.readouterr().err


def test_a_set_with_too_few_pictures_is_refused_before_any_work(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = write_images(tmp_path / "few", 6, 80)
    assert run(["eval", str(trained.artifact), str(few), "--out", str(tmp_path / "run"), *SWAP]) == 2
    said = capsys.readouterr().err
    assert "3 of 6" in said
    assert "4 are needed" in said
    assert not (tmp_path / "run").exists()


def test_a_folder_of_pictures_may_be_the_fill(trained, twenty: Path, tmp_path: Path) -> None:
    few = write_images(tmp_path / "few", 4, 80)
    fill = ["--fill", str(twenty.parent)]
    assert run(["eval", str(trained.artifact), str(few), "--out", str(tmp_path / "run"), *SWAP, *fill]) == 0
    assert len(read_run(tmp_path / "run").bank.pictures) == 20
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["heads"]["lp"]["rule"]["fill"] == fill[1]
