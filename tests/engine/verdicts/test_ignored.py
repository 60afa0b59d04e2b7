"""Pixels of neither side: verdicts by swaps and by maps, against the slow computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from function_models import HEADS, evaluate, job, light
from PIL import Image

from rate.backends.fake import FakeSpec
from rate.engine.job import Job
from rate.kernels import reference
from rate.kernels.region import cut_of_swaps
from rate.kernels.rise import Rise
from rate.kernels.saliency import mass_inside
from rate.reading import Reading
from rate.types import Bool
from tests.engine.test_evaluate import assert_same_rows, rows_of
from tests.engine.test_swaps import met_by

WORDS = Reading(mask_values=1, mask_ignore=255)


@pytest.fixture
def masked(image_set) -> Path:
    """Twenty pictures, most with ignored pixels beside the object and away from it, one ignored as a whole."""
    manifest = image_set(20)
    lines = ["id,image,label,mask"]
    for k in range(20):
        numbers = np.zeros((40, 40 + k), np.uint8)
        numbers[4 : 12 + k, 3:20] = 1
        if k % 4:
            numbers[:, 20:24], numbers[34:, 30:] = 255, 255
        if k == 7:
            numbers[:] = 255
        Image.fromarray(numbers).save(manifest.parent / f"{k}-mask.png")
        lines.append(f"s{k},{k}.png,{('dark', 'light')[k % 2]},{k}-mask.png")
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def swaps(manifest: Path, **settings: object) -> Job:
    return job(manifest, verdict="swap", fills=5, reading=WORDS, **settings)


@pytest.mark.parametrize(("margin", "ramp"), [(0.0, 0.0), (0.0625, 0.03125)])
def test_swaps_show_an_ignored_pixel_with_the_side_that_is_its_own_either_way(
    masked: Path, tmp_path: Path, margin: float, ramp: float
) -> None:
    one = swaps(masked, margin=margin, ramp=ramp)
    evaluate(one, FakeSpec(light), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    decoded = {sample.id: one.decode(sample) for sample in one.samples}
    assert sum(prepared.ignored is not None for prepared in decoded.values()) == 15
    for sample in one.samples:
        shown = decoded[sample.id]
        ignored = np.zeros_like(shown.region) if shown.ignored is None else shown.ignored
        if shown.region.any():
            found = [
                reference_swap(shown.picture.pixels, fill.picture.pixels, shown.region, ignored, margin, ramp)
                for fill in met_by(one, shown, decoded)[:5]
            ]
            inside, outside = (np.stack(side).astype(np.float32) for side in zip(*found, strict=True))
            for head in HEADS:
                column = head.classes.index(sample.label)

                def score(pixels: np.ndarray, name: str = head.name, column: int = column) -> float:
                    logits = light(pixels)[name].astype(np.float64)
                    return float((logits[:, column] - logits.mean(axis=1)).mean())

                row = rows[sample.id, head.name]
                assert row["phi_region"] - row["phi_rest"] == pytest.approx(score(inside) - score(outside), abs=1e-4)
        for head in HEADS:
            row = rows[sample.id, head.name]
            assert row["area"] == pytest.approx(shown.region.sum() / max((~ignored).sum(), 1))
    assert rows["s7", "a"]["undefined_reason"] == "empty-region"


def reference_swap(
    x: np.ndarray, fill: np.ndarray, region: Bool, ignored: Bool, margin: float, ramp: float
) -> tuple[np.ndarray, np.ndarray]:
    """Show a pixel as little as it may be of a side, over ignored pixels that are object and that are not."""
    either = [cut_of_swaps(one, False, margin, ramp) for one in (region, region | ignored)]
    return reference.swap(x, np.minimum(*either), fill, np.maximum(*either))


def test_neither_batch_nor_workers_change_a_verdict(masked: Path, tmp_path: Path) -> None:
    for name, settings in (("one", {}), ("two", {"batch": 3}), ("three", {"workers": 2})):
        evaluate(swaps(masked, **settings), FakeSpec(light), tmp_path / name)
    for name in ("two", "three"):
        assert_same_rows(rows_of(tmp_path / "one"), rows_of(tmp_path / name))


def test_a_region_whose_rest_is_ignored_is_full(image_set, tmp_path: Path) -> None:
    manifest = image_set(20)
    numbers = np.full((40, 60), 255, np.uint8)
    numbers[5:20, 5:20] = 1
    for k in range(20):
        Image.fromarray(numbers[:, : 40 + k]).save(manifest.parent / f"{k}-mask.png")
    rows = [f"s{k},{k}.png,{('dark', 'light')[k % 2]},{k}-mask.png" for k in range(20)]
    manifest.write_text("\n".join(["id,image,label,mask", *rows]))
    evaluate(swaps(manifest), FakeSpec(light), tmp_path / "run")
    assert {row["undefined_reason"] for row in rows_of(tmp_path / "run").values()} == {"full-region"}


@pytest.mark.parametrize("settings", [{}, {"saliency": "occlusion"}, {"masks": "auto", "max_masks": 128}])
def test_maps_count_nothing_on_ignored_pixels(masked: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    one = job(masked, reading=WORDS, save_maps=None, **settings)
    evaluate(one, FakeSpec(light), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    for sample in one.samples:
        shown = one.decode(sample)
        for head in HEADS:
            row = rows[sample.id, head.name]
            bounds = one.method.bounds(shown.region, shown.ignored)
            assert row["ceiling"] == pytest.approx(bounds.ceiling, abs=1e-6)
            assert row["floor"] == pytest.approx(bounds.floor, abs=1e-6)
            assert row["area"] == pytest.approx(shown.area)
            if row["rma_positive"] is not None:
                assert 0 <= row["rma_positive"] <= 1


def test_bounds_are_those_of_observers_of_the_two_sides_alone() -> None:
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 3, (16, 16))
    region, ignored, rest = parts == 1, parts == 2, parts == 0
    method = Rise(size=16, side=4, keep=(0.5,), cells="fixed", count=8, seed=0)
    kernel = method._moments.kernel
    found = method.bounds(region, ignored)
    for bound, seen in ((found.ceiling, region), (found.floor, rest)):
        observed = (kernel @ seen @ kernel)[~ignored]
        assert bound == pytest.approx(mass_inside(observed[None], region[~ignored][None]))
    assert method.bounds(region, None) == method.bounds(region)
