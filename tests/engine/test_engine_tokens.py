"""`--saliency rise-tokens` from the command line inwards: verdicts, resume, reports, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import rate
from rate.artifacts.artifact import load_artifact
from rate.cli.main import run
from rate.config import Measurement
from rate.data.images.prepare import prepare
from rate.engine.choose_backend import open_backend
from rate.engine.evaluate import evaluate
from rate.engine.job import Job
from rate.engine.make_job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.errors import ConfigError, UsageError
from rate.execution import Execution
from rate.export.graph.tokens import dropped_logits
from rate.export.options import ExportOptions
from rate.export.sources.families.vit import locate_cut
from rate.export.sources.open_source import open_source
from rate.kernels import reference
from rate.kernels.tokens import RiseTokens
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from rate.studies.dry_run import estimate
from rate.types import Rows

MASKS = 30


@pytest.fixture(scope="module")
def manifest(tiny_vit) -> Path:
    return tiny_vit.manifest


def job(tiny_vit, manifest: Path, batch: int = 8, backend: str = "onnxruntime", precision: str = "f32") -> Job:
    measurement, execution = Measurement("rise-tokens", masks=MASKS), Execution(backend, precision, batch, 1)
    return job_from_artifact(load_artifact(tiny_vit.artifact), manifest, None, measurement, execution)


def finish(tiny_vit, one: Job, out: Path) -> Path:
    with open_runner(load_artifact(tiny_vit.artifact), one) as runner:
        evaluate(one, runner, out)
    return out


@pytest.fixture(scope="module")
def finished(tiny_vit, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(tiny_vit, job(tiny_vit, manifest), tmp_path_factory.mktemp("runs") / "run")


def assert_same(one: Path, two: Path, atol: float) -> None:
    first, second = ({row["id"]: row for row in read_rows(p, read_run(p)).to_pylist()} for p in (one, two))
    assert first.keys() == second.keys()
    for key, row in first.items():
        for name in ("prediction", "correct", "valid", "undefined_reason", "error", "forwards", "ceiling", "floor"):
            assert second[key][name] == row[name], (key, name)
        for name in ("rma_positive", "effect", "probability", "rma_se"):
            assert second[key][name] == pytest.approx(row[name], abs=atol), (key, name)


def test_the_relevance_mass_is_that_of_the_slow_computation(tiny_vit, finished: Path, manifest: Path) -> None:
    """Torch on explicitly dropped patches, masks pixel by pixel, the covariance mask by mask."""
    one = job(tiny_vit, manifest)
    source = open_source(tiny_vit.source, ExportOptions(classes=tiny_vit.classes))
    cut, heads = locate_cut(source.tower, 32, "x"), {head.name: head.module for head in source.heads}
    rows = {row["id"]: row for row in read_rows(finished, read_run(finished)).to_pylist()}
    for sample in one.samples:
        prepared = prepare(sample, one.geometry)
        masks = RiseTokens(32, 4, (0.5,), "fixed", MASKS, 0).draw(sample.id, 0, MASKS)
        staged = Rows.under_masks(np.zeros(MASKS, np.int64), masks.grid, masks.offset, fill=0)
        logits = dropped_logits(source.tower, heads, cut, prepared.picture.pixels[None], staged)["zs"].astype(float)
        scores = logits[:, ("dark", "light").index(sample.label)]
        full = np.stack([reference.patch_mask(grid, 32) for grid in masks.grid])
        clean = source.logits(prepared.picture.pixels[None])["zs"][0].astype(float)
        whole = (clean[("dark", "light").index(sample.label)] - scores.mean()) / 0.5
        evidence = np.maximum(reference.contributions(scores, full, masks.level, (0.5,), cells=16) + whole / 16, 0)
        row = rows[sample.id]
        assert row["rma_positive"] == pytest.approx(reference.relevance_mass(evidence, prepared.region), abs=1e-4)
        assert row["prediction"] == ("dark", "light")[int(clean.argmax())]
        assert row["forwards"] == MASKS + 1


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_the_batch_size_changes_nothing(tiny_vit, manifest: Path, finished: Path, tmp_path: Path, batch: int) -> None:
    assert_same(finished, finish(tiny_vit, job(tiny_vit, manifest, batch), tmp_path / "run"), atol=1e-4)


def test_openvino_gives_the_same_verdicts(tiny_vit, manifest: Path, finished: Path, tmp_path: Path) -> None:
    found = finish(tiny_vit, job(tiny_vit, manifest, backend="openvino"), tmp_path / "run")
    assert_same(finished, found, atol=1e-3)


def test_an_interrupted_run_goes_on(tiny_vit, manifest: Path, finished: Path, tmp_path: Path) -> None:
    one, ticks = job(tiny_vit, manifest), []

    def stop(progress) -> None:
        ticks.append(progress.done)
        if progress.done == 2:
            raise KeyboardInterrupt

    with open_runner(load_artifact(tiny_vit.artifact), one) as runner, pytest.raises(KeyboardInterrupt):
        evaluate(one, runner, tmp_path / "run", stop)
    stored = len(read_rows(tmp_path / "run", read_run(tmp_path / "run")))
    assert 0 < stored < 4
    assert_same(finished, finish(tiny_vit, one, tmp_path / "run"), atol=1e-5)


def test_verdicts_that_end_early_are_those_of_any_batch_size(tiny_vit, manifest: Path, tmp_path: Path) -> None:
    settings = {"saliency": "rise-tokens", "masks": "auto", "min_masks": 16, "max_masks": 96, "threads": 1}
    for batch in (8, 40):
        out = tmp_path / str(batch)
        rate.evaluate(tiny_vit.artifact, manifest, out, **settings, batch=batch, backend="onnxruntime")
    assert_same(tmp_path / "8", tmp_path / "40", atol=1e-4)


def test_the_run_says_what_was_measured(finished: Path) -> None:
    measurement = read_run(finished).measurement
    assert (measurement["saliency"], measurement["grid"], measurement["keep"]) == ("rise-tokens", 4, [0.5])
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["heads"]["zs"]["rule"]["saliency"] == "rise-tokens"
    assert summary["heads"]["zs"]["rule"]["masks"] == MASKS


def test_saved_maps_are_constant_on_patches(finished: Path) -> None:
    """One value a pixel of the model, 8 x 8 of them for each patch."""
    maps = pq.read_table(finished / "maps" / "maps.parquet").to_pylist()
    assert len(maps) == 4
    for one in maps:
        stored = np.frombuffer(one["map"], np.float16).reshape(32, 32)
        assert stored.max() == 1
        np.testing.assert_array_equal(stored, stored[::8, ::8].repeat(8, axis=0).repeat(8, axis=1))


def test_a_dry_run_times_masked_rows(tiny_vit, manifest: Path, tmp_path: Path) -> None:
    one = job(tiny_vit, manifest, batch=64)
    with open_backend(load_artifact(tiny_vit.artifact), one.execution, "tokens") as backend:
        cost = estimate(one, backend, 1, tmp_path / "run")
    assert (cost.samples, cost.forwards) == (4, 4 * (MASKS + 1))
    assert cost.forwards_per_s > 0


def test_commands_take_the_token_form(tiny_vit, manifest: Path, tmp_path: Path, capsys) -> None:
    out, artifact = tmp_path / "run", str(tiny_vit.artifact)
    few = ["--saliency", "rise-tokens", "--masks", str(MASKS), "--threads", "1"]
    evaluated = ["eval", artifact, str(manifest), "--out", str(out), "--backend", "onnxruntime", "--keep", "0.75"]
    assert run([*evaluated, *few]) == 0
    picture = str(tmp_path / "heat.png")
    image = str(manifest.parent / "0.png")
    assert run(["explain", artifact, image, "--out", picture, "--boxes", "[[0, 0, 20, 20]]", *few]) == 0
    assert Path(picture).stat().st_size > 0
    assert run(["report", str(out), "--out", str(tmp_path / "report.html")]) == 0
    assert "RISE on the patches of the model" in (tmp_path / "report.html").read_text()
    (tmp_path / "gate.toml").write_text('[[check]]\nmetric = "errors"\nmax = 0\nuse = "value"\n')
    assert run(["gate", str(out), "--policy", str(tmp_path / "gate.toml")]) == 0
    capsys.readouterr()
    assert run(["inspect", artifact]) == 0
    assert "4 x 4 patches" in capsys.readouterr().out


def test_runs_of_different_forms_are_not_compared(tiny_vit, manifest: Path, finished: Path, tmp_path: Path) -> None:
    rate.evaluate(tiny_vit.artifact, manifest, tmp_path / "pixels", masks=MASKS, backend="onnxruntime", threads=1)
    with pytest.raises(UsageError, match=r"measurement.saliency: 'rise-tokens' in .*'rise' in"):
        rate.compare(finished, tmp_path / "pixels")
    same = rate.compare(finished, finished)
    assert same is not None


def test_an_artifact_without_the_token_form_is_refused_with_the_cure(trained, capsys, tmp_path: Path) -> None:
    arguments = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(tmp_path / "run")]
    assert run([*arguments, "--saliency", "rise-tokens"]) == 2
    assert "export it again with --tokens" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": 8}, "grid 8: the cells of rise-tokens are the model's patches; leave --grid out"),
        ({"keep": (0.3, 0.5)}, "got keep 0.3,0.5 and cells 'fixed'; give one share"),
        ({"cells": "independent"}, "got keep 0.5 and cells 'independent'"),
    ],
)
def test_settings_that_do_not_apply_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Measurement("rise-tokens", **settings)
