"""Maps beside swaps are pictures: they are those of a run of maps, and change nothing of what swaps decided."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from function_models import Counted, Interrupting, evaluate, job
from function_models import light as model

from rate.backends.fake import FakeSpec
from rate.config import Measurement
from rate.data.digests import fingerprint
from rate.engine.evaluate import Progress
from rate.engine.job import Job
from rate.errors import ConfigError, RunError
from rate.runs.merge import merge
from rate.runs.part_list import read_list
from rate.runs.run_document import read_run
from rate.statistics.metrics import quadrant_of
from rate.types import Float32, Json
from tests.engine.test_evaluate import assert_same_rows, rows_of

DRAWN = {"masks": 30, "grid": 4}


def swap(manifest: Path, **settings: Any) -> Job:
    return job(manifest, **{"verdict": "swap", "fills": 4, "save_maps": None} | DRAWN | settings)


def maps_of(run: Path) -> dict[tuple[str, str], Json]:
    path = run / "maps" / "maps.parquet"
    maps = pq.read_table(path).to_pylist() if path.exists() else []
    assert not list(path.parent.glob("part-*"))
    found = {(one["id"], one["head"]): one for one in maps}
    assert len(found) == len(maps)
    return found


def assert_same_maps(one: dict[tuple[str, str], Json], two: dict[tuple[str, str], Json]) -> None:
    assert one.keys() == two.keys()
    for key, saved in one.items():
        assert (saved["quadrant"], saved["rank"]) == (two[key]["quadrant"], two[key]["rank"])
        first, second = (np.frombuffer(each["map"], np.float16) for each in (saved, two[key]))
        assert first == pytest.approx(second, abs=2e-3)


@pytest.mark.parametrize("saliency", ["rise", "occlusion"])
def test_they_are_the_maps_of_a_run_of_maps(image_set: Callable[..., Path], tmp_path: Path, saliency: str) -> None:
    manifest = image_set(12)
    evaluate(swap(manifest, saliency=saliency, tau=0.9), FakeSpec(model), tmp_path / "swap")
    same = {"verdict": "map", "tau": 0.1, "score": "centred", "saliency": saliency, "save_maps": None} | DRAWN
    evaluate(job(manifest, **same), FakeSpec(model), tmp_path / "map")
    drawn, expected, rows = maps_of(tmp_path / "swap"), maps_of(tmp_path / "map"), rows_of(tmp_path / "swap")
    assert drawn.keys() == expected.keys() == rows.keys()
    for key, saved in drawn.items():
        assert saved["map"] == expected[key]["map"]
        assert saved["quadrant"] == quadrant_of(rows[key]["correct"], rows[key]["valid"])
    assert any(saved["quadrant"] != expected[key]["quadrant"] for key, saved in drawn.items()), "swaps decided"


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_those_of_the_lowest_ranks_are_drawn(image_set: Callable[..., Path], tmp_path: Path, keep: int) -> None:
    seen: list[Progress] = []
    evaluate(swap(image_set(14), save_maps=keep), FakeSpec(model), tmp_path / "run", seen.append)
    ranks: dict[tuple[str, str], list[tuple[int, tuple[str, str]]]] = {}
    for key, row in rows_of(tmp_path / "run").items():
        ranks.setdefault((key[1], quadrant_of(row["correct"], row["valid"])), []).append((fingerprint(key[0]), key))
    wanted = {key for each in ranks.values() for _, key in sorted(each)[:keep]}
    assert maps_of(tmp_path / "run").keys() == wanted
    drawings = [progress.drawing for progress in seen if progress.drawing is not None]
    samples = len({identifier for identifier, _ in wanted})
    assert [drawing.samples for drawing in drawings] == [samples] * len(drawings)
    assert not samples or (drawings[0].done, drawings[-1].done) == (0, samples)


def test_they_change_neither_rows_nor_summary(image_set: Callable[..., Path], tmp_path: Path) -> None:
    manifest = image_set(12)
    one = swap(manifest)
    twice = sum(one.bank.partner(sample, one.shuffled) is not None for sample in one.samples)
    for name, settings in {"with": {}, "without": {"save_maps": 0}, "other": {"masks": 10, "grid": 3}}.items():
        made = evaluate(swap(manifest, **settings), FakeSpec(model), tmp_path / name)
        if name == "with":
            expected = made
        assert made.heads == expected.heads
        assert read_run(tmp_path / name).key == read_run(tmp_path / "with").key
        assert sum(s.forwards for s in read_run(tmp_path / name).sessions) == (12 + twice) * 9
        assert_same_rows(rows_of(tmp_path / "with"), rows_of(tmp_path / name))


@pytest.mark.parametrize("at", [20, 40, 60])
def test_a_run_that_is_interrupted_while_drawing_is_complete_and_goes_on_drawing(
    image_set: Callable[..., Path], tmp_path: Path, at: int
) -> None:
    manifest = image_set(12)
    evaluate(swap(manifest), FakeSpec(model), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        evaluate(swap(manifest), FakeSpec(Interrupting(at)), tmp_path / "cut")
    run = read_run(tmp_path / "cut")
    assert run.status == "complete"
    assert (tmp_path / "cut" / "summary.json").exists()
    before = len({identifier for identifier, _ in maps_of(tmp_path / "cut")})
    assert before >= (at - 18) * 8 // 31 - 2
    counted = Interrupting(-1)
    evaluate(swap(manifest), FakeSpec(counted), tmp_path / "cut")
    assert counted.calls == 1 + -(-(12 - before) * 31 // 8), "no row and no map was computed again"
    assert_same_rows(rows_of(tmp_path / "whole"), rows_of(tmp_path / "cut"))
    assert_same_maps(maps_of(tmp_path / "whole"), maps_of(tmp_path / "cut"))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_open_model_draws(image_set: Callable[..., Path], tmp_path: Path, workers: int) -> None:
    manifest = image_set(12)
    evaluate(swap(manifest), FakeSpec(model), tmp_path / "one")
    opened = tmp_path / "opened"
    opened.mkdir()
    evaluate(swap(manifest, workers=workers), Counted(model, folder=str(opened)), tmp_path / "other")
    assert len(list(opened.iterdir())) == max(workers, 1)
    assert_same_maps(maps_of(tmp_path / "one"), maps_of(tmp_path / "other"))


def test_maps_of_other_settings_are_drawn_again(image_set: Callable[..., Path], tmp_path: Path) -> None:
    manifest = image_set(12)
    evaluate(swap(manifest), FakeSpec(model), tmp_path / "new")
    evaluate(swap(manifest, masks=10), FakeSpec(model), tmp_path / "run")
    assert read_run(tmp_path / "run").execution["maps"]["masks"] == 10
    evaluate(swap(manifest, masks=DRAWN["masks"]), FakeSpec(model), tmp_path / "run")
    assert read_run(tmp_path / "run").execution["maps"]["masks"] == DRAWN["masks"]
    assert_same_maps(maps_of(tmp_path / "new"), maps_of(tmp_path / "run"))


def test_a_repair_draws_lost_maps_and_evaluates_nothing_again(image_set: Callable[..., Path], tmp_path: Path) -> None:
    manifest, saved = image_set(12), tmp_path / "run" / "maps" / "maps.parquet"
    evaluate(swap(manifest), FakeSpec(model), tmp_path / "run")
    before = maps_of(tmp_path / "run")
    parts = [part.name for part in read_list(tmp_path / "run")]
    saved.write_bytes(saved.read_bytes()[:100])
    with pytest.raises(RunError, match=r"maps\.parquet"):
        evaluate(swap(manifest), FakeSpec(model), tmp_path / "run")
    evaluate(swap(manifest, repair=True), FakeSpec(model), tmp_path / "run")
    assert [part.name for part in read_list(tmp_path / "run")] == parts
    assert_same_maps(before, maps_of(tmp_path / "run"))


def test_a_merged_run_has_the_lowest_ranks_of_its_shards(image_set: Callable[..., Path], tmp_path: Path) -> None:
    manifest, parts = image_set(18), [tmp_path / f"part{n}" for n in (1, 2)]
    evaluate(swap(manifest, save_maps=2), FakeSpec(model), tmp_path / "whole")
    for number, part in enumerate(parts, 1):
        evaluate(swap(manifest, save_maps=2, shard=f"{number}/2"), FakeSpec(model), part)
    merge(parts, tmp_path / "merged")
    assert_same_maps(maps_of(tmp_path / "whole"), maps_of(tmp_path / "merged"))


def blind_when_masked(x: Float32) -> dict[str, Float32]:
    """As `light`, without an answer to dark images of which much is hidden behind grey."""
    grey = (x == 0).mean(axis=(1, 2, 3)) > 0.05
    dark = x.mean(axis=(1, 2, 3)) < 0
    return {name: np.where((grey & dark)[:, None], np.nan, values) for name, values in model(x).items()}


def test_what_cannot_be_drawn_is_counted_and_the_rest_is_drawn(image_set: Callable[..., Path], tmp_path: Path) -> None:
    manifest, seen = image_set(12), []
    summary = evaluate(swap(manifest), FakeSpec(blind_when_masked), tmp_path / "run", seen.append)
    assert {row["error"] for row in rows_of(tmp_path / "run").values()} == {None}
    assert {identifier for identifier, _ in maps_of(tmp_path / "run")} == {f"s{k}" for k in range(1, 12, 2)}
    assert (seen[-1].drawing.failed, seen[-1].drawing.done) == (6, 12)
    [said] = summary.notices
    assert said.startswith("6 of 12 images have no map, such as: ")
    assert "not finite" in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"saliency": "attention"}, "saliency 'attention'"),
        ({"saliency": "rise-tokens", "keep": 0.5}, "saliency 'rise-tokens'"),
        ({"masks": "many"}, "masks must be"),
        ({"evidence": "minmax", "masks": "auto", "valid": "absolute"}, "masks 'auto'"),
    ],
)
def test_settings_of_impossible_maps_are_refused_at_once(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Measurement(verdict="swap", **settings)


def test_a_modest_number_of_masks_is_drawn_if_none_is_given() -> None:
    assert Measurement(verdict="swap").of_map.masks == 512
    assert Measurement(verdict="swap", masks=40).of_map.masks == 40
    with pytest.raises(ConfigError, match=r"masks 8: .* at least 10 masks"):
        Measurement(verdict="swap", masks=8).check_evidence()
