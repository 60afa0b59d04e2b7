"""Faithfulness on a model whose formula is known, and from the command line on real graphs."""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import function_models
import jsonschema
import numpy as np
import pytest
from function_models import open_spec
from PIL import Image

from rate.backends.fake import FakeSpec
from rate.cli.main import run
from rate.config import Measurement
from rate.data.images.prepare import prepare
from rate.engine.engine import InProcess
from rate.engine.job import Job
from rate.engine.verdicts.prediction import Head
from rate.errors import ConfigError
from rate.execution import Execution
from rate.kernels.faithfulness import STEPS, random_order
from rate.records import plain
from rate.report.schemas import all_schemas
from rate.studies.faithfulness import HeadScores, measure_faithfulness, samples_for
from rate.types import Float32

SIZE, IMAGES = 32, 12


def weights(seed: int | None = None) -> Float32:
    """[h,w] of a model that reads the mean of the upper left square; ``seed``: the same values, in random places."""
    found = np.zeros((SIZE, SIZE), np.float32)
    found[4:16, 4:16] = 1 / 144
    return found if seed is None else np.random.default_rng(seed).permutation(found.ravel()).reshape(SIZE, SIZE)


def linear(x: Float32, weight: Float32) -> dict[str, Float32]:
    """The more light there is, the more it is "light"."""
    found = 2 * (x.mean(axis=1) * weight).sum(axis=(1, 2))
    return {"h": np.stack([-found, found], axis=1).astype(np.float32)}


def model(weight: Float32) -> FakeSpec:
    return FakeSpec(partial(linear, weight=weight))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Light pictures whose region is the square; its whole evidence lies there."""
    lines = ["id,image,label,x0,y0,x1,y1"]
    rng = np.random.default_rng(0)
    for k in range(IMAGES):
        Image.fromarray(rng.integers(150, 250, (SIZE, SIZE, 3)).astype(np.uint8)).save(tmp_path / f"{k}.png")
        lines.append(f"s{k},{k}.png,light,4,4,16,16")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    made = function_models.job(tmp_path / "manifest.csv")
    measurement = Measurement(masks=300, grid=7, keep=0.5)
    return replace(made, heads=(Head("h", ("dark", "light")),), measurement=measurement, execution=Execution(batch=16))


def found_by(job: Job, explained: Float32, randomized: Float32, samples: int = IMAGES) -> HeadScores:
    """Of maps of the model ``explained``, on the model of the square."""
    return measured(job, [model(explained), model(randomized), model(weights())], samples)


def measured(job: Job, specs: list[FakeSpec], samples: int) -> HeadScores:
    """Maps of the first model and of the second, judged on the third."""
    with ExitStack() as stack:
        own, other, pixels = (stack.enter_context(open_spec(spec)) for spec in specs)
        return measure_faithfulness(job, InProcess(own), InProcess(other), pixels, samples)["h"]


def test_the_true_map_is_faithful_and_a_model_without_its_weights_looks_different(job: Job) -> None:
    found = found_by(job, weights(), weights(5))
    told = plain(found.document)
    assert (told["samples"], told["skipped"]) == (IMAGES, 0)
    for deletion, insertion, random in found.areas:
        assert deletion < random - 0.05
        assert insertion > random + 0.05
    assert told["deletion_below_random"]["low"] > 0
    assert told["insertion_above_random"]["low"] > 0
    assert (told["pointing"]["numerator"], told["pointing"]["denominator"]) == (IMAGES, IMAGES)
    assert told["pointing"]["uniform"] == pytest.approx(144 / SIZE**2)
    assert told["randomized_model"]["n"] == IMAGES
    assert abs(told["randomized_model"]["value"]) < 0.25


def test_no_other_map_makes_the_score_fall_as_fast(job: Job) -> None:
    true = found_by(job, weights(), weights(5))
    elsewhere = found_by(job, np.roll(weights(), 12, axis=(0, 1)), weights(5))
    nowhere = found_by(job, weights(9), weights(5))
    for other in (elsewhere, nowhere):
        assert all(own[0] < wrong[0] for own, wrong in zip(true.areas, other.areas, strict=True))
        assert all(own[1] > wrong[1] for own, wrong in zip(true.areas, other.areas, strict=True))
    assert sum(elsewhere.pointing) == 0


def test_the_same_model_is_no_randomized_one(job: Job) -> None:
    assert np.mean(found_by(job, weights(), weights(), 4).correlation) == pytest.approx(1.0)


def test_the_curve_is_that_of_the_probability_of_the_explained_class(job: Job) -> None:
    """The random order, by plain loops."""
    [areas] = found_by(job, weights(), weights(5), 1).areas
    candidates = []
    for sample in job.samples:
        image, order = prepare(sample, job.geometry).picture.pixels.copy(), random_order(f"random {sample.id}", SIZE**2)
        curve, gone = [], 0
        for step in range(STEPS + 1):
            while gone < round(step * SIZE**2 / STEPS):
                image[:, order[gone] // SIZE, order[gone] % SIZE] = 0
                gone += 1
            dark, light = linear(image[None], weights())["h"][0].astype(float)
            curve.append(math.exp(light) / (math.exp(light) + math.exp(dark)))
        candidates.append(np.trapezoid(curve, np.linspace(0, 1, STEPS + 1)))
    assert min(abs(one - areas[2]) for one in candidates) < 1e-5


def test_batch_size_changes_nothing(job: Job) -> None:
    other = replace(job, execution=Execution(batch=7))
    np.testing.assert_allclose(
        found_by(job, weights(), weights(5), 3).areas, found_by(other, weights(), weights(5), 3).areas, atol=1e-6
    )


def test_what_has_no_map_is_skipped_and_counted(job: Job) -> None:
    found = found_by(job, np.zeros((SIZE, SIZE), np.float32), weights(5))
    assert (found.areas, found.skipped, found.correlation) == ([], IMAGES, [])
    told = plain(found.document)
    assert told["deletion"] == {"value": None, "low": None, "high": None, "n": 0}
    nan = FakeSpec(lambda x: {"h": np.full((len(x), 2), np.nan, np.float32)})
    broken = measured(job, [model(weights()), model(weights(5)), nan], 3)
    assert (broken.areas, broken.skipped) == ([], 3)


def test_a_share_or_a_number_of_samples(job: Job) -> None:
    assert [samples_for(share, job) for share in (0.01, 0.5, 0.51, 1, 5, 500)] == [1, 6, 7, 1, 5, IMAGES]
    for wrong in (-1, 1.5, math.nan, math.inf):
        with pytest.raises(ConfigError, match="a share below 1 or a whole number"):
            samples_for(wrong, job)


@pytest.mark.parametrize("saliency", ["rise", "rise-tokens", "attention"])
def test_a_run_carries_it_by_schema_and_shows_it(tiny_vit, tmp_path: Path, saliency: str, capsys) -> None:
    command = ["eval", str(tiny_vit.artifact), str(tiny_vit.manifest), "--out", str(tmp_path / "run")]
    settings = ["--saliency", saliency, "--masks", "24", "--threads", "1", "--batch", "16", "--backend", "onnxruntime"]
    assert run([*command, *settings, "--faithfulness", "0.5"]) == 0
    shown = capsys.readouterr().out
    document = json.loads((tmp_path / "run" / "faithfulness.json").read_text())
    jsonschema.validate(document, all_schemas()["faithfulness"])
    head = document["heads"]["zs"]
    assert head["samples"] + head["skipped"] == 2
    assert run(["show", str(tmp_path / "run")]) == 0
    for text in (shown, capsys.readouterr().out):
        assert "zs: are the maps faithful?" in text
        assert "pointing game" in text
    assert run(["report", str(tmp_path / "run"), "--out", str(tmp_path / "report.html")]) == 0
    assert "insertion area, high is good" in (tmp_path / "report.html").read_text()
    capsys.readouterr()
    assert run([*command, *settings, "--faithfulness", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "rate.summary/5"
    again = json.loads((tmp_path / "run" / "faithfulness.json").read_text())
    assert again == document, "the same samples give the same, run after run"


def test_show_refuses_a_file_that_is_not_ours(tiny_vit, tmp_path: Path, capsys) -> None:
    command = ["eval", str(tiny_vit.artifact), str(tiny_vit.manifest), "--out", str(tmp_path / "run")]
    assert run([*command, "--saliency", "attention", "--threads", "1"]) == 0
    (tmp_path / "run" / "faithfulness.json").write_text("{}")
    assert run(["show", str(tmp_path / "run")]) == 2
    assert "has the schema None, expected 'rate.faithfulness/3'" in capsys.readouterr().err
    assert run([*command, "--saliency", "attention", "--faithfulness", "1.5"]) == 2
