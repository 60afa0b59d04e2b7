"""Outline, selection, figures of classes, drawings: against the slow and obvious."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from report_runs import Plan, row, write_run

from rate.report.heads import HeadRun, load_heads
from rate.report.html.charts import HEIGHT, TOP, histograms, sweep_of
from rate.report.html.embedded import SLICE_COLUMNS, slice_rows
from rate.report.html.samples.encode import PICTURE_BYTES, heat_uri, picture_uri
from rate.report.html.samples.outline import border, reduced
from rate.report.html.samples.selection import select
from rate.report.html.sentences import answer, rule_in_words
from rate.runs.part_list import read_list
from rate.runs.parts import write_table

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def heads_of(root: Path, plan: Plan) -> list[HeadRun]:
    return load_heads(str(write_run(root, plan)))


def filled(path: str, height: int, width: int) -> np.ndarray:
    """The even-odd filling of a path of unit-grid moves: a pixel is inside past an odd number of vertical edges."""
    crossings = np.zeros((height, width + 1), np.int64)
    for loop in re.findall(r"M(\d+) (\d+)([^z]*)z", path):
        x, y = int(loop[0]), int(loop[1])
        start = (x, y)
        for kind, length in re.findall(r"([hv])(-?\d+)", loop[2]):
            if kind == "h":
                x += int(length)
            else:
                top, bottom = sorted((y, y + int(length)))
                crossings[top:bottom, x] += 1
                y += int(length)
        assert (x, y) == start
    return crossings.cumsum(axis=1)[:, :width] % 2 == 1


@given(masks)
def test_the_border_filled_is_the_region(region: np.ndarray) -> None:
    assert (filled(border(region), *region.shape) == region).all()


@given(masks)
def test_the_border_is_empty_only_for_an_empty_region(region: np.ndarray) -> None:
    assert bool(border(region)) == bool(region.any())


def test_a_box_is_four_moves() -> None:
    region = np.zeros((8, 8), np.bool_)
    region[1:4, 2:7] = True
    assert border(region) == "M2 1h5v3h-5v-3z"


@pytest.mark.parametrize(("side", "finest"), [(224, 112), (100, 112), (225, 112), (7, 3)])
def test_a_reduced_region_keeps_its_share_and_never_grows(side: int, finest: int) -> None:
    region = np.zeros((side, side), np.bool_)
    region[: side // 2, : side // 2] = True
    small = reduced(region, finest)
    assert len(small) == min(side, finest)
    assert small.mean() == pytest.approx(region.mean(), abs=2 / finest)


@given(st.integers(0, 40))
def test_a_selection_has_at_most_as_many_as_asked_and_no_sample_twice(tmp_path_factory, most: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "selection"
    if not folder.exists():
        write_run(folder, Plan(count=20, heads=("a", "b")))
    heads = load_heads(str(folder / "run"))
    chosen = select(heads, most)
    assert len(chosen) == min(most, 40)
    assert len({(shown.head, shown.id) for shown in chosen}) == len(chosen)
    smaller = {(shown.head, shown.id) for shown in select(heads, most // 2)}
    assert smaller <= {(shown.head, shown.id) for shown in chosen}


@pytest.mark.parametrize("maps", [1_000, 0])
def test_the_worst_of_every_quadrant_are_chosen(tmp_path: Path, maps: int) -> None:
    """With maps and without: failures first, the lowest localization of right ones, the surest of wrong ones."""
    [head] = heads_of(tmp_path, Plan(count=64, maps=maps))
    everything, few = select([head], 1000), select([head], 10)
    assert len(everything) == 64
    assert list(dict.fromkeys(shown.quadrant for shown in few)) == ["rw", "ww", "wr", "rr", "undefined"]
    for quadrant, count in Counter(shown.quadrant for shown in few).items():
        key, sign = ("localization", 1) if quadrant in ("rw", "rr") else ("probability", -1)
        rows = [shown.row for shown in everything if shown.quadrant == quadrant]
        worst = sorted(rows, key=lambda row, key=key, sign=sign: (sign * row[key], row["id"]))[:count]
        assert [shown.id for shown in few if shown.quadrant == quadrant] == [row["id"] for row in worst]


def test_maps_of_another_size_than_they_say_are_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Plan(count=4))
    path = folder / "maps" / "maps.parquet"
    table = pq.read_table(path)
    sides = table.schema.get_field_index("side")
    wrong = pa.array([57] * len(table), pa.int32())
    write_table(table.set_column(sides, table.schema.field(sides), wrong), path)
    chosen = select(load_heads(str(folder)), 10)
    assert len(chosen) == 4
    assert all(shown.heat is None for shown in chosen)


def test_maps_of_a_broken_off_run_are_found_in_its_parts(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Plan(count=4, status="partial"))
    [part] = read_list(folder)
    (folder / "maps" / "maps.parquet").rename(folder / "maps" / part.name)
    assert not any(shown.coarse for shown in select(load_heads(str(folder)), 10))


def slices_of(head: HeadRun) -> list[dict[str, Any]]:
    return [dict(zip(SLICE_COLUMNS, row, strict=True)) for row in slice_rows([head])]


def test_classes_add_up_to_the_head(tmp_path: Path) -> None:
    [head] = heads_of(tmp_path, Plan(count=50, errors=4, group=True))
    found = slices_of(head)
    for kind in ("class", "group"):
        own = [one for one in found if one["slice"] == kind]
        for metric, whole in (("pt", head.summary.pt.ratio), ("ir", head.summary.ir.ratio)):
            assert [sum(one[metric][k] for one in own) for k in (0, 1)] == [whole.numerator, whole.denominator]
    assert sum(one["images"] for one in found if one["slice"] == "class") == head.summary.rows
    assert sum(one["errors"] for one in found if one["slice"] == "class") == head.summary.counts.errors


def test_a_class_is_counted_as_by_hand(tmp_path: Path) -> None:
    plan = Plan(count=30, errors=2)
    [head] = heads_of(tmp_path, plan)
    rows = [row("zs", k, plan) for k in range(32)]
    for found in (one for one in slices_of(head) if one["slice"] == "class"):
        mine = [r for r in rows if r["label"] == found["name"]]
        assert found["images"] == len(mine)
        assert found["errors"] == sum(r["error"] is not None for r in mine)
        assert found["pt"][0] == sum(bool(r["correct"] and r["valid"]) for r in mine)
        assert found["ir"][1] - found["ir"][0] == sum(r["correct"] is False and r["valid"] is True for r in mine)
        assert found["undefined"] == sum(r["undefined_reason"] is not None for r in mine)


@pytest.mark.parametrize(
    "measurement", [{}, {"valid": "absolute"}, {"tau": 0.33}, {"evidence": "minmax", "valid": "absolute"}]
)
def test_bars_hold_every_verdict_on_its_side_of_the_threshold(tmp_path: Path, measurement: dict) -> None:
    [head] = heads_of(tmp_path, Plan(count=40, measurement=measurement))
    [drawn] = histograms([head])
    assert drawn is not None
    counts = head.summary.counts
    for quadrant in ("rr", "rw", "wr", "ww"):
        bars = [bar for bar in drawn.bars if bar.quadrant == quadrant]
        assert sum(bar.count for bar in bars) == getattr(counts, quadrant)
        for bar in bars:
            right_of = bar.low >= drawn.tau - 1e-9
            assert right_of == (quadrant[1] == "r")
            assert bar.y >= TOP - 1e-9
            assert bar.y + bar.height <= HEIGHT


def test_heads_share_one_scale(tmp_path: Path) -> None:
    one = heads_of(tmp_path / "1", Plan(count=40))
    two = heads_of(tmp_path / "2", Plan(count=8, quadrants=("rr", "ww")))
    drawn = histograms(one + two)
    scales = {round(bar.height / (bar.count / chart.judged), 3) for chart in drawn if chart for bar in chart.bars}
    assert len(scales) == 1


def test_the_sweep_breaks_where_a_metric_is_undefined(tmp_path: Path) -> None:
    [head] = heads_of(tmp_path, Plan(count=40))
    drawn = sweep_of(head)
    assert drawn is not None
    undefined = [point.ir is None for point in head.summary.sweep]
    assert any(undefined)
    points = {line.name: line.path.count("M") + line.path.count("L") for line in drawn.lines}
    assert points == {"PT": len(undefined), "IR": undefined.count(False)}
    first, second = (line.end for line in drawn.lines)
    assert first is not None
    assert second is not None
    assert abs(first.at - second.at) >= 11.9


def test_words_say_where_the_interval_lies(tmp_path: Path) -> None:
    [head] = heads_of(tmp_path, Plan(count=200))
    words = " ".join(answer(head.summary))
    trust = head.summary.pt
    assert f"{trust.ratio.numerator} rest on valid evidence" in words
    for name, value in (("uniform", trust.uniform), ("shuffled", trust.shuffled)):
        low, high = trust.ratio.interval
        where = "lies above" if value < low else "lies below" if value > high else "includes"
        assert re.search(rf"PT {trust.ratio.value:.3f}, its interval [a-z ]*{where} [a-z ]*{name}", words), words
    assert "localization of at least 0.5" in rule_in_words(head.summary.rule)


def test_noise_still_fits_and_maps_are_small() -> None:
    from PIL import Image

    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (224, 224, 3), np.uint8))
    assert len(picture_uri(noise)) < 1.4 * PICTURE_BYTES + 100
    assert len(heat_uri(rng.random((56, 56)))) < 4500
