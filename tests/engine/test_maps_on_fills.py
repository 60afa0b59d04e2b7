"""Maps whose masks hide behind any fill: the slow computation gives the same, and knows what the whole image adds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from function_models import HEADS, evaluate, job
from function_models import light as model

from rate.backends.fake import FakeSpec
from rate.config import FILLS_OF_MAPS
from rate.engine.engine import image_slots, slots_of
from rate.engine.job import Job
from rate.errors import TooManyErrors
from rate.kernels import reference
from rate.runs.store import read_run
from rate.types import Float32, Prepared
from tests.engine.test_evaluate import assert_same_rows, rows_of
from tests.engine.test_swaps import met_by

MASKS = 40


def fills_of(one: Job, own: Prepared, decoded: dict[str, Prepared]) -> np.ndarray:
    """The fills [n,3,h,w] behind the masks of a sample, by their definition."""
    if one.measurement.fill == "mean":
        fills = [np.zeros_like(own.picture.pixels)]
    elif one.measurement.fill == "own":
        fills = [np.broadcast_to(own.picture.pixels.mean(axis=(1, 2), keepdims=True), own.picture.pixels.shape)]
    else:
        fills = [other.picture.pixels for other in met_by(one, own, decoded)[:FILLS_OF_MAPS]]
    shares = len(one.measurement.shares)
    return np.stack([fills[n // shares % len(fills)] for n in range(MASKS)])


@pytest.mark.parametrize("cells", ["fixed", "independent"])
@pytest.mark.parametrize(("fill", "more"), [("mean", 1), ("own", 1), ("pictures", 12)])
def test_a_map_is_that_of_the_slow_computation(image_set, tmp_path: Path, fill: str, more: int, cells: str) -> None:
    asked = {"fill": fill, "verdict": "map", "masks": MASKS, "grid": 4, "cells": cells, "keep": (0.3, 0.6)}
    one = job(image_set(12), **asked)
    assert slots_of(one) == image_slots(one) * (2 if fill == "own" else 1) + more
    evaluate(one, FakeSpec(model), tmp_path / "run")
    rows, decoded = rows_of(tmp_path / "run"), {sample.id: one.decode(sample) for sample in one.samples}
    for name, own in decoded.items():
        masks, behind = one.method.draw(name, 0, MASKS), fills_of(one, own, decoded)
        full = reference.masks(one.method.perturbation, masks.grid, masks.offset)
        kept = full[:, None].astype(np.float32)
        pixels = own.picture.pixels
        seen, clean, nothing = model(kept * pixels + (1 - kept) * behind), model(pixels[None]), model(behind)
        for head in HEADS:
            row, column = rows[name, head.name], head.classes.index(own.sample.label)
            scores = seen[head.name][:, column].astype(np.float64)
            cells_kept = 16 if cells == "fixed" else None
            signal = reference.contributions(scores, full, masks.level, one.method.shares, cells_kept)
            whole = float(clean[head.name][0, column]) - float(nothing[head.name][:, column].mean())
            positive = np.maximum(signal + (whole / 16 if cells == "fixed" else 0.0), 0)
            saliency = reference.rise_saliency(scores, full, one.method.share)
            shifted = (saliency - saliency.min()) / (saliency.max() - saliency.min())
            assert row["rma_positive"] == pytest.approx(reference.relevance_mass(positive, own.region), abs=1e-4)
            assert row["rma_minmax"] == pytest.approx(reference.relevance_mass(shifted, own.region), abs=1e-4)
            assert row["forwards"] == MASKS + (2 if fill == "own" else 1)
            if fill != "pictures":
                assert row["effect"] == pytest.approx(whole, abs=1e-5)
    assert {row["fills"] for row in rows.values()} == {None}


@pytest.mark.parametrize("fill", ["own", "pictures"])
@pytest.mark.parametrize("masks", [MASKS, "auto"])
def test_the_batch_size_changes_nothing(image_set, tmp_path: Path, fill: str, masks: int | str) -> None:
    manifest, asked = image_set(12), {"fill": fill, "verdict": "map", "masks": masks, "max_masks": 130}
    for batch in (1, 7, 32):
        evaluate(job(manifest, **asked, batch=batch), FakeSpec(model), tmp_path / str(batch))
        assert_same_rows(rows_of(tmp_path / "1"), rows_of(tmp_path / str(batch)))


def test_what_hides_pixels_must_have_finite_scores(image_set, tmp_path: Path) -> None:
    def unlit(x: Float32) -> dict[str, Float32]:
        logits = model(x)
        for values in logits.values():
            values[abs(x).max(axis=(1, 2, 3)) == 0] = np.nan
        return logits

    manifest, asked = image_set(4), {"verdict": "map", "masks": MASKS}
    with pytest.raises(TooManyErrors, match="4 x the scores of what stands where pixels are hidden are not finite"):
        evaluate(job(manifest, **asked), FakeSpec(unlit), tmp_path / "run")
    evaluate(job(manifest, verdict="map", saliency="occlusion"), FakeSpec(unlit), tmp_path / "windows")
    assert read_run(tmp_path / "windows").status == "complete"
