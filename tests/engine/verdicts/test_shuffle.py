"""The shuffled baseline of swaps: some samples are swapped along the region of another sample, too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from function_models import HEADS, Interrupting, evaluate, job
from function_models import light as model

from rate.backends.fake import FakeSpec
from rate.data.bank import NO_BANK
from rate.engine.job import Job
from rate.engine.make_job import SHUFFLED_SHARE, SHUFFLED_SWAPS, shuffled_share
from rate.engine.prefetch import Prefetch
from rate.engine.verdicts.fills import Fills, order_met
from rate.engine.verdicts.shuffle import Shuffle
from rate.kernels.region import sketch
from rate.kernels.score import score
from rate.kernels.swap import shapley_values
from rate.runs.merge import merge
from rate.runs.store import read_run
from rate.runs.summary.summarise import load_summary
from rate.types import Float32, Prepared
from tests.engine.test_evaluate import assert_same_rows, rows_of

COUNT = 40


def swap(manifest: Path, **settings: object) -> Job:
    return job(manifest, verdict="swap", **settings)


@pytest.fixture
def manifest(image_set) -> Path:
    """The pictures of `image_set` with their boxes in four corners."""
    path: Path = image_set(COUNT)
    header, *lines = path.read_text().splitlines()
    for k, line in enumerate(lines):
        x, y = 18 * (k % 2), 18 * (k // 2 % 2)
        lines[k] = ",".join([*line.split(",")[:6], *map(str, (x, y, x + 22 + k % 2 * k, y + 22))])
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def partners(one: Job) -> dict[str, int]:
    found = {sample.id: one.bank.partner(sample, one.shuffled) for sample in one.samples}
    return {identifier: partner for identifier, partner in found.items() if partner is not None}


def test_the_slow_computation_takes_the_region_of_another_sample(manifest: Path, tmp_path: Path) -> None:
    one = swap(manifest, fills=5)
    summary = evaluate(one, FakeSpec(model), tmp_path / "run")
    rows, decoded, borrowed = rows_of(tmp_path / "run"), {s.id: one.decode(s) for s in one.samples}, partners(one)
    assert 0.2 < len(borrowed) / COUNT < 0.6
    sketches = np.stack([sketch(decoded[picture.id].region) for picture in one.bank.pictures])
    others = 0
    seen: dict[str, list[tuple[bool, bool]]] = {head.name: [] for head in HEADS}
    for name, own in decoded.items():
        if name not in borrowed:
            assert all(rows[name, head.name]["shuffled_valid"] is None for head in HEADS)
            assert all(rows[name, head.name]["forwards"] == 11 for head in HEADS)
            continue
        lender = one.bank.pictures[borrowed[name]]
        assert lender.id != name
        x, region = own.picture.pixels, decoded[lender.id].region
        others += (region != own.region).any()
        met = order_met(one.bank, sketches, own.sample, region, one.fills_met)[:5]
        fills = np.stack([decoded[one.bank.pictures[k].id].picture.pixels for k in met])
        for head in HEADS:
            row, column = rows[name, head.name], head.classes.index(own.sample.label)

            def f(pixels: Float32, name: str = head.name, column: int = column) -> np.ndarray:
                return score(model(pixels)[name].astype(np.float64), column, "centred")[None]

            values = shapley_values(
                f(x[None])[0], f(np.where(region, x, fills)), f(np.where(region, fills, x)),
                f(fills),
            )  # fmt: skip
            expected = bool(values.share[0] >= 0.5) if values.has_evidence[0] else None
            assert row["shuffled_valid"] == expected
            assert row["forwards"] == 22
            if expected is not None:
                seen[head.name].append((row["correct"], expected))
    assert others > len(borrowed) / 2
    for head in HEADS:
        trust, reliability = summary.heads[head.name].pt, summary.heads[head.name].ir
        right = [valid for correct, valid in seen[head.name] if correct]
        valid = [correct for correct, valid in seen[head.name] if valid]
        for metric, counted in ((trust, right), (reliability, valid)):
            ratio = metric.shuffled_ratio
            assert (ratio.numerator, ratio.denominator) == (sum(counted), len(counted))
            assert metric.shuffled == ratio.value
    assert any(metric.pt.shuffled_ratio.denominator > 3 for metric in summary.heads.values())


def shuffled_of(folder: Path) -> dict[str, object]:
    heads = load_summary(folder).heads
    return {name: (head.pt.shuffled_ratio, head.ir.shuffled_ratio, head.forwards_mean) for name, head in heads.items()}


@pytest.mark.parametrize(
    ("changes", "depth"), [({"batch": 32}, 1), ({"batch": 7}, 3), ({"workers": 2}, 1), ({"threads": 3}, 2)]
)
def test_what_changes_the_work_changes_no_shuffled_verdict(
    manifest: Path, tmp_path: Path, changes: dict[str, int], depth: int
) -> None:
    evaluate(swap(manifest), FakeSpec(model), tmp_path / "one")
    evaluate(swap(manifest, **changes), FakeSpec(model, depth=depth), tmp_path / "two")
    assert shuffled_of(tmp_path / "one") == shuffled_of(tmp_path / "two")
    assert_same_rows(rows_of(tmp_path / "one"), rows_of(tmp_path / "two"))


@pytest.mark.parametrize("at", [4, 12, 25])
def test_interrupted_and_merged_runs_have_the_shuffled_verdicts_of_a_whole_one(
    manifest: Path, tmp_path: Path, at: int
) -> None:
    evaluate(swap(manifest), FakeSpec(model), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        evaluate(swap(manifest), FakeSpec(Interrupting(at)), tmp_path / "cut", part_rows=2)
    evaluate(swap(manifest), FakeSpec(model), tmp_path / "cut")
    parts = [tmp_path / f"part{n}" for n in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        evaluate(swap(manifest, shard=f"{number}/3"), FakeSpec(model), part)
    merge(parts, tmp_path / "merged")
    for name in ("cut", "merged"):
        assert shuffled_of(tmp_path / name) == shuffled_of(tmp_path / "whole")
        assert_same_rows(rows_of(tmp_path / name), rows_of(tmp_path / "whole"))


def test_all_forwards_are_counted(manifest: Path, tmp_path: Path) -> None:
    one = swap(manifest, fills=5)
    summary = evaluate(one, FakeSpec(model), tmp_path / "run")
    forwards = 11 * (COUNT + len(partners(one)))
    [session] = read_run(tmp_path / "run").sessions
    assert session.forwards == session.used == forwards
    assert summary.heads["a"].forwards_mean == forwards / COUNT


def test_scores_that_are_not_finite_along_the_other_region_leave_the_verdict_as_it_is(
    manifest: Path, tmp_path: Path
) -> None:
    one = swap(manifest, fills=5)
    decoded, (name, partner) = {s.id: one.decode(s) for s in one.samples}, next(iter(partners(one).items()))
    own, region = decoded[name], decoded[one.bank.pictures[partner].id].region
    sketches = np.stack([sketch(decoded[picture.id].region) for picture in one.bank.pictures])
    met = order_met(one.bank, sketches, own.sample, region, one.fills_met)[0]
    broken = np.where(region, own.picture.pixels, decoded[one.bank.pictures[met].id].picture.pixels)

    def breaking(x: Float32) -> dict[str, Float32]:
        hit = np.abs(x - broken).max(axis=(1, 2, 3)) < 1e-4
        return {head: np.where(hit[:, None], np.float32(np.nan), logits) for head, logits in model(x).items()}

    evaluate(one, FakeSpec(model), tmp_path / "whole")
    evaluate(one, FakeSpec(breaking), tmp_path / "broken")
    whole, rows = rows_of(tmp_path / "whole"), rows_of(tmp_path / "broken")
    for head in HEADS:
        assert whole[name, head.name]["shuffled_valid"] is not None
        whole[name, head.name] |= {"shuffled_valid": None, "forwards": 11}
    assert_same_rows(whole, rows)


@pytest.mark.parametrize(
    ("samples", "share"), [(10, SHUFFLED_SHARE), (8 * SHUFFLED_SWAPS, SHUFFLED_SHARE), (100 * SHUFFLED_SWAPS, 0.01)]
)
def test_a_share_of_the_set_is_shuffled_and_no_more_than_are_needed(
    manifest: Path, tmp_path: Path, samples: int, share: float
) -> None:
    assert shuffled_share(swap(manifest).measurement, samples) == share
    assert shuffled_share(replace(swap(manifest).measurement, fill=str(manifest.parent)), samples) == 0.0
    assert shuffled_share(job(manifest, verdict="map").measurement, samples) == 0.0


def test_a_run_without_regions_to_borrow_has_no_baseline(manifest: Path, tmp_path: Path) -> None:
    """The pictures of a folder show no region, and maps that are drawn beside swaps are swapped with nothing."""
    one = swap(manifest, fills=5)
    assert one.of_map.shuffled == 0.0
    assert one.of_map.bank == NO_BANK
    summary = evaluate(replace(one, shuffled=0.0), FakeSpec(model), tmp_path / "run")
    trust = summary.heads["a"].pt
    assert (trust.shuffled, trust.shuffled_ratio.denominator) == (None, 0)
    stored = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert stored["heads"]["a"]["pt"]["shuffled_ratio"]["value"] is None


def test_the_region_is_cut_as_that_of_the_lender_is(manifest: Path) -> None:
    """A mask is grown before it is cut, and boxes are not."""
    one = swap(manifest)
    masked = tuple(replace(picture, boxes=None, mask="m.png") for picture in one.bank.pictures)
    regions = np.stack([one.decode(picture).region for picture in one.bank.pictures])
    ignored = dict(enumerate(~regions))
    shuffle = Shuffle(replace(one.bank, pictures=masked), 1.0, Fills(0, (), {}, regions, ignored))
    with Prefetch(iter(one.samples), one.decode, 1, 4) as source:
        own, again = shuffle.next(source), shuffle.next(source)
    assert isinstance(own, Prepared)
    assert isinstance(again, Prepared)
    assert (own.shuffled, again.shuffled) == (False, True)
    assert again.picture is own.picture
    assert again.sample == replace(own.sample, boxes=None, mask="m.png")
    assert again.ignored is not None
    np.testing.assert_array_equal(again.ignored, ~again.region)
