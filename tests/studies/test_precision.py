"""What another precision changes, asked for more than once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from function_models import evaluate, job, light, open_spec

from rate.backends.fake import FakeSpec
from rate.engine.engine import InProcess
from rate.runs.run_document import SampleCounts, read_run
from rate.studies.precision import compare_precision
from rate.types import Float32


def inverted(x: Float32) -> dict[str, Float32]:
    return {name: np.ascontiguousarray(-values) for name, values in light(x).items()}


@pytest.mark.parametrize("order", [(5, 2), (2, 5), (5, 5)], ids=str)
def test_fewer_or_more_samples_than_before_are_compared_as_asked(
    image_set, tmp_path: Path, order: tuple[int, int]
) -> None:
    manifest, run = image_set(8), tmp_path / "run"
    evaluate(job(manifest), FakeSpec(light), run)
    for count in order:
        with open_spec(FakeSpec(inverted)) as backend:
            found = compare_precision(job(manifest), InProcess(backend), run, count)
        assert {flips.samples for flips in found} == {count}
        assert {flips.predictions for flips in found} == {count}, "every prediction differs"
        stored = json.loads((run / "precision.json").read_text())
        assert {head["samples"] for head in stored["heads"].values()} == {count}
        assert read_run(run / "precision").status == "complete"
    assert read_run(run / "precision").samples == SampleCounts(max(order), max(order))
