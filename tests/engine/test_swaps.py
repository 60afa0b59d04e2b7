"""Verdicts by swaps: what changes the work changes no verdict, and the slow computation gives the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from function_models import HEADS, Interrupting, evaluate, job
from function_models import light as model

from rate.backends.fake import FakeSpec
from rate.config import FEWEST_FILLS, Measurement
from rate.engine.job import Job
from rate.engine.make_job import check_bank
from rate.errors import ConfigError, DataError, RunError, SetChanged, TooManyErrors
from rate.kernels.score import score
from rate.option import options_of
from rate.runs.merge import merge
from rate.runs.store import read_run
from rate.types import Float32, Prepared
from tests.engine.test_evaluate import assert_same_rows, rows_of

SWAP = {"verdict": "swap"}


def swap(manifest: Path, **settings: object) -> Job:
    return job(manifest, **SWAP, **settings)


def met_by(one: Job, prepared: Prepared, decoded: dict[str, Prepared]) -> list[Prepared]:
    """Those whose own region the sample's hides most, in eighths; their order, and which of equals, is the bank's."""
    others = [decoded[one.bank.pictures[k].id] for k in one.bank.order(prepared.sample)]
    hidden = [(other.region & prepared.region).sum() / max(other.region.sum(), 1) for other in others]
    most_hidden = sorted(range(len(others)), key=lambda k: -math.floor(8 * hidden[k] + 1e-4))[: one.fills_met]
    return [others[k] for k in sorted(most_hidden)]


@pytest.mark.parametrize("kind", sorted({*options_of(Measurement)["score"].choices} - {"auto"}))
def test_the_slow_computation_pastes_pictures_and_gives_the_same(image_set, tmp_path: Path, kind: str) -> None:
    one = swap(image_set(20), fills=5, score=kind)
    evaluate(one, FakeSpec(model), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    decoded = {sample.id: one.decode(sample) for sample in one.samples}
    assert len(rows) == 2 * len(decoded) == 40
    for sample in one.samples:
        x, region = decoded[sample.id].picture.pixels, decoded[sample.id].region
        met = [other.picture.pixels for other in met_by(one, decoded[sample.id], decoded)[:5]]
        inside = np.stack([np.where(region, x, fill) for fill in met])
        outside = np.stack([np.where(region, fill, x) for fill in met])
        for head in HEADS:
            row, column = rows[sample.id, head.name], head.classes.index(sample.label)

            def f(pixels: Float32, name: str = head.name, column: int = column) -> np.ndarray:
                return score(model(pixels)[name].astype(np.float64), column, kind)

            whole, alone, without, nothing = f(x[None])[0], f(inside).mean(), f(outside).mean(), f(np.stack(met)).mean()
            phi = ((whole - without) + (alone - nothing)) / 2
            rest = ((whole - alone) + (without - nothing)) / 2
            assert row["phi_region"] == pytest.approx(phi, abs=1e-5)
            assert row["phi_rest"] == pytest.approx(rest, abs=1e-5)
            if row["share"] is not None:
                assert row["share"] == pytest.approx(max(phi, 0) / (max(phi, 0) + max(rest, 0)), abs=1e-5)
            best = int(model(x[None])[head.name].argmax())
            for stored, pixels in (("alone", inside), ("without", outside)):
                same = model(pixels)[head.name].argmax(axis=1)
                assert row[f"kept_{stored}"] == pytest.approx((same == best).mean())
                which = {"alone": "object_only", "without": "background_only"}[stored]
                assert row[which] == pytest.approx((same == column).mean())
            assert row["forwards"] == (11 if one.bank.partner(sample, one.shuffled) is None else 22)
            assert row["fills"] == 5
            assert row["rma_positive"] is None
            if row["valid"] is not None:
                assert row["valid"] == (row["share"] >= 0.5)


@pytest.mark.parametrize(
    ("changes", "depth"),
    [({"batch": 1}, 1), ({"batch": 7}, 3), ({"batch": 64}, 2), ({"threads": 3}, 1), ({"workers": 2}, 1)],
)
def test_what_changes_the_work_changes_no_verdict(
    image_set, tmp_path: Path, changes: dict[str, int], depth: int
) -> None:
    manifest = image_set(16)
    evaluate(swap(manifest), FakeSpec(model), tmp_path / "one")
    evaluate(swap(manifest, **changes), FakeSpec(model, depth=depth), tmp_path / "two")
    assert_same_rows(rows_of(tmp_path / "one"), rows_of(tmp_path / "two"))


@pytest.mark.parametrize("at", [3, 6, 9])
def test_an_interrupted_run_ends_as_if_nothing_had_happened(image_set, tmp_path: Path, at: int) -> None:
    manifest = image_set(16)
    whole = evaluate(swap(manifest), FakeSpec(model), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        evaluate(swap(manifest), FakeSpec(Interrupting(at)), tmp_path / "cut")
    assert evaluate(swap(manifest), FakeSpec(model), tmp_path / "cut").heads == whole.heads
    assert_same_rows(rows_of(tmp_path / "whole"), rows_of(tmp_path / "cut"))


def test_shards_meet_the_pictures_of_the_whole_set(image_set, tmp_path: Path) -> None:
    manifest = image_set(18)
    evaluate(swap(manifest), FakeSpec(model), tmp_path / "whole")
    parts = [tmp_path / f"part{n}" for n in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        evaluate(swap(manifest, shard=f"{number}/3"), FakeSpec(model), part)
    merge(parts, tmp_path / "merged")
    assert_same_rows(rows_of(tmp_path / "whole"), rows_of(tmp_path / "merged"))


def test_a_clear_verdict_takes_few_forwards(image_set, tmp_path: Path) -> None:
    summary = evaluate(swap(image_set(40)), FakeSpec(model), tmp_path / "run")
    rows = rows_of(tmp_path / "run").values()
    assert {row["settled"] for row in rows} <= {"decided", "capped"}
    assert min(row["forwards"] for row in rows) == 9
    assert summary.heads["a"].rule.verdict == "swap"


def black(x: Float32) -> dict[str, Float32]:
    """Sees nothing."""
    return {head.name: np.zeros((len(x), len(head.classes)), np.float32) for head in HEADS}


def test_the_first_fills_alone_say_what_is_predicted_where_a_clear_verdict_ends_them(image_set, tmp_path: Path) -> None:
    one = swap(image_set(30))
    evaluate(one, FakeSpec(noisy), tmp_path / "run")
    rows, decoded = rows_of(tmp_path / "run"), {sample.id: one.decode(sample) for sample in one.samples}
    assert len({row["fills"] for row in rows.values()}) > 1
    for name, own in decoded.items():
        met = np.stack([other.picture.pixels for other in met_by(one, own, decoded)[:FEWEST_FILLS]])
        alone, without = (noisy(np.where(inside, own.picture.pixels, met)) for inside in (own.region, ~own.region))
        for head in HEADS:
            row, label = rows[name, head.name], head.classes.index(own.sample.label)
            predicted = int(noisy(own.picture.pixels[None])[head.name].argmax())
            for column, wanted, answers in (
                ("object_only", label, alone),
                ("background_only", label, without),
                ("kept_alone", predicted, alone),
                ("kept_without", predicted, without),
            ):
                assert row[column] == (answers[head.name].argmax(axis=1) == wanted).mean()


def noisy(x: Float32) -> dict[str, Float32]:
    """Reads a pixel in the region and one in the rest."""
    light = x[:, 0, 5, 5] + x[:, 1, 27, 27]
    return {head.name: np.stack([light * k for k in range(len(head.classes))], 1).astype(np.float32) for head in HEADS}


def test_a_model_that_sees_nothing_has_no_evidence(image_set, tmp_path: Path) -> None:
    evaluate(swap(image_set(12)), FakeSpec(black), tmp_path / "run")
    rows = rows_of(tmp_path / "run").values()
    assert {row["undefined_reason"] for row in rows} == {"no-evidence"}
    assert {row["valid"] for row in rows} == {None}


def boxed(manifest: Path, cell: str) -> Path:
    lines = manifest.read_text().splitlines()
    lines[1] = ",".join([*lines[1].split(",")[:6], *cell.split(",")])
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


@pytest.mark.parametrize(("cell", "reason"), [("0,0,100,100", "full-region"), ("39.9,39.9,40,40", "empty-region")])
def test_a_region_without_an_inside_or_an_outside_has_no_verdict(
    image_set, tmp_path: Path, cell: str, reason: str
) -> None:
    evaluate(swap(boxed(image_set(12), cell)), FakeSpec(model), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    assert rows["s0", "a"]["undefined_reason"] == reason
    assert rows["s0", "a"]["settled"] == "decided"
    for name in ("kept_alone", "kept_without", "object_only", "background_only"):
        assert rows["s0", "a"][name] is None
        assert 0 <= rows["s1", "a"][name] <= 1


def test_another_bank_is_another_run(image_set, tmp_path: Path) -> None:
    manifest = image_set(12)
    one = swap(manifest)
    evaluate(one, FakeSpec(model), tmp_path / "run")
    keys = {
        swap(manifest, **changes).key("fake", "f32") for changes in ({}, {"seed": 1}, {"margin": 0.1}, {"fills": 4})
    }
    assert len(keys) == 4
    assert one.key("fake", "f32") == read_run(tmp_path / "run").key
    with pytest.raises(RunError):
        evaluate(swap(manifest, seed=1), FakeSpec(model), tmp_path / "run")
    recorded = read_run(tmp_path / "run").bank.pictures
    assert recorded == tuple(picture.id for picture in one.bank.pictures)


def test_pixels_of_another_library_are_another_run(image_set, tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="the other library")
    manifest = image_set(12)
    one, other = swap(manifest), swap(manifest, pixel_path="torchvision")
    assert one.identity("fake", "f32")["pixel_path"] == "pillow-bicubic/2"
    assert other.identity("fake", "f32")["pixel_path"] == "torchvision-bicubic/1"
    assert one.settings == other.settings, "the identity alone tells them apart"
    assert one.key("fake", "f32") != other.key("fake", "f32")
    evaluate(one, FakeSpec(model), tmp_path / "run")
    with pytest.raises(RunError, match="pixel_path"):
        evaluate(other, FakeSpec(model), tmp_path / "run")
    assert evaluate(other, FakeSpec(model), tmp_path / "other").status == "complete"


def test_too_few_pictures_are_refused_with_their_numbers(image_set: Callable[..., Path]) -> None:
    few = swap(image_set(6))
    with pytest.raises(DataError, match=r"3 of 6 .* 4 are needed"):
        check_bank(few.bank, few.measurement)


@pytest.mark.parametrize("fill", ["mean", "own"])
def test_swap_needs_pictures(image_set, fill: str) -> None:
    with pytest.raises(ConfigError, match=f"fill '{fill}'"):
        swap(image_set(6), fill=fill)


def nowhere(x: Float32) -> dict[str, Float32]:
    """As `light`, but without a number for very bright images."""
    logits = model(x)
    for values in logits.values():
        values[x.mean(axis=(1, 2, 3)) > 0.8] = np.nan
    return logits


def test_a_picture_of_the_bank_without_finite_scores_is_an_error_of_those_who_meet_it(
    image_set, tmp_path: Path
) -> None:
    with pytest.raises(TooManyErrors, match="8 x the scores of a picture of the bank are not finite"):
        evaluate(swap(image_set(16)), FakeSpec(nowhere), tmp_path / "run")
    assert {row["valid"] for row in rows_of(tmp_path / "run").values()} == {None}


def rounded(x: Float32) -> dict[str, Float32]:
    """Constant but for the last bits of its logits."""
    noise = 1e-7 * np.sin(1e4 * x.mean(axis=(1, 2, 3)))
    return {
        head.name: np.stack([1 + noise, -1 - noise, 0 * noise][: len(head.classes)], axis=1).astype(np.float32)
        for head in HEADS
    }


def test_rounding_is_no_evidence(image_set, tmp_path: Path) -> None:
    evaluate(swap(image_set(16)), FakeSpec(rounded), tmp_path / "run")
    assert {row["undefined_reason"] for row in rows_of(tmp_path / "run").values()} == {"no-evidence"}


@pytest.mark.parametrize("fate", ["changed", "gone"])
def test_a_bank_that_changes_after_it_was_read_ends_the_run(image_set, tmp_path: Path, fate: str) -> None:
    one = swap(image_set(12))
    path = Path(one.bank.pictures[0].image)
    path.unlink() if fate == "gone" else path.write_bytes(Path(one.bank.pictures[1].image).read_bytes())
    with pytest.raises(SetChanged, match="has changed"):
        evaluate(one, FakeSpec(model), tmp_path / "run")
