"""A grid of corruptions: a folder of whole runs, the model opened once, resumed where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import function_models
import jsonschema
import numpy as np
import pytest

from rate.backends.base import Backend
from rate.backends.fake import FakeSpec
from rate.data.images.corrupt import SEVERITIES, TYPES, parse_grid
from rate.data.images.geometry import Geometry
from rate.engine.engine import InProcess
from rate.engine.job import Job
from rate.engine.open_runner import divided, runner_on
from rate.engine.verdicts.prediction import Head
from rate.errors import ConfigError, RunError
from rate.records import written as written_json
from rate.report.schemas import all_schemas
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from rate.studies.corruption_grid import Grid, evaluate_grid, is_grid, load_grid
from rate.types import Float32

ASKED = parse_grid("clean,contrast,pixelate:2", (1, 4))
GEOMETRY = Geometry(64, 64, (0.5,) * 3, (0.25,) * 3)


def light(x: Float32) -> dict[str, Float32]:
    corner = x[:, :, :32, :32].mean(axis=(1, 2, 3))
    return {"a": np.stack([-corner, corner], axis=1).astype(np.float32)}


class Counted(FakeSpec):
    """Counts how often it was opened."""

    opened = 0

    @contextmanager
    def open(self, *arguments: object) -> Iterator[Backend]:
        Counted.opened += 1
        with super().open(*arguments) as backend:
            yield backend


def job(manifest: Path, **measured: object) -> Job:
    heads = (Head("a", ("dark", "light")),)
    return function_models.job(manifest, heads=heads, geometry=GEOMETRY, threads=1, **({"masks": 20} | measured))


def grid_of(one: Job, out: Path, spec: FakeSpec, asked: tuple[str | None, ...] = ASKED) -> Grid:
    with function_models.open_spec(spec) as backend:
        return evaluate_grid(one, InProcess(backend), out, asked)


@pytest.mark.parametrize(
    ("text", "severities", "expected"),
    [
        ("fog", SEVERITIES, [f"fog:{level}" for level in SEVERITIES]),
        ("clean,fog", (3, 5), [None, "fog:3", "fog:5"]),
        ("fog:2, snow,fog:2", (1,), ["fog:2", "snow:1"]),
        ("all:3", (1,), [f"{name}:3" for name in TYPES]),
        ("all", SEVERITIES, [f"{name}:{level}" for name in TYPES for level in SEVERITIES]),
    ],
)
def test_what_is_asked_for(text, severities, expected):
    assert list(parse_grid(text, severities)) == expected


@pytest.mark.parametrize(
    ("text", "severities"), [("mist", (1,)), ("fog:6", (1,)), ("fog,", (1,)), ("fog", (0,)), ("fog", ())]
)
def test_what_cannot_be_asked_for(text, severities):
    with pytest.raises(ConfigError, match=r"no corruption|severit"):
        parse_grid(text, severities)


def test_every_run_is_what_it_is_alone_and_the_model_is_opened_once(image_set, tmp_path: Path) -> None:
    manifest = image_set(4, 70)
    Counted.opened = 0
    grid = grid_of(job(manifest), tmp_path / "grid", Counted(light))
    assert Counted.opened == 1
    names = ["clean", "contrast-1", "contrast-4", "pixelate-2"]
    assert [cell.run for cell in grid.cells] == names
    for name, corruption in zip(names, ASKED, strict=True):
        alone = job(manifest, corrupt=corruption)
        function_models.evaluate(alone, FakeSpec(light), tmp_path / name)
        assert read_run(tmp_path / "grid" / name).key == read_run(tmp_path / name).key
        one, two = (read_rows(folder / name, read_run(folder / name)) for folder in (tmp_path / "grid", tmp_path))
        assert one.sort_by("id").drop_columns("evidence_sketch") == two.sort_by("id").drop_columns("evidence_sketch")


def test_workers_open_their_model_once_for_all_runs(image_set, tmp_path: Path) -> None:
    one, opened = job(image_set(6, 70), verdict="swap"), tmp_path / "opened"
    opened.mkdir()
    spec = function_models.Counted(function_models.light, folder=str(opened))
    shared = replace(one, execution=replace(one.execution, workers=2, save_maps=1))
    with divided(shared.execution) as division, runner_on(division, partial(function_models.open_spec, spec)) as runner:
        evaluate_grid(shared, runner, tmp_path / "shared", ASKED)
    assert len({path.name.partition("-")[0] for path in opened.iterdir()}) == len([*opened.iterdir()]) == 2
    grid_of(shared, tmp_path / "alone", spec)
    for name in ("clean", "contrast-1", "contrast-4", "pixelate-2"):
        two, alone = (tmp_path / folder / name for folder in ("shared", "alone"))
        assert read_run(two).status == "complete"
        assert (two / "maps" / "maps.parquet").exists()
        rows = [read_rows(folder, read_run(folder)).sort_by("id") for folder in (two, alone)]
        assert rows[0] == rows[1]


def test_means_are_over_runs_and_the_file_follows_its_schema(image_set, tmp_path: Path) -> None:
    grid = grid_of(job(image_set(6, 70)), tmp_path / "grid", FakeSpec(light))
    written = json.loads((tmp_path / "grid" / "grid.json").read_text())
    assert written == json.loads(written_json(grid.document))
    assert load_grid(tmp_path / "grid").document == grid.document
    jsonschema.validate(written, all_schemas()["grid"])
    assert is_grid(tmp_path / "grid")
    assert not is_grid(tmp_path / "grid" / "clean")
    values = {
        name: json.loads((tmp_path / "grid" / name / "summary.json").read_text())["heads"]["a"]["accuracy"]["value"]
        for name in ("contrast-1", "contrast-4", "pixelate-2")
    }
    head = written["heads"]["a"]
    mean = head["mean"]["accuracy"]
    assert (mean["value"], mean["runs"]) == (pytest.approx(sum(values.values()) / 3), 3)
    assert mean["low"] < mean["value"] <= mean["high"]
    assert head["by_severity"].keys() == {"1", "2", "4"}
    assert head["by_severity"]["4"]["accuracy"]["value"] == values["contrast-4"]
    both = (values["contrast-1"] + values["contrast-4"]) / 2
    assert head["by_corruption"]["contrast"]["accuracy"]["value"] == pytest.approx(both)


def test_an_undefined_metric_is_left_out_of_its_mean(image_set, tmp_path: Path) -> None:
    """Always wrong: no prediction is correct, so PT has no denominator."""
    model = FakeSpec(lambda x: {name: -values for name, values in light(x).items()})
    mean = grid_of(job(image_set(4, 70)), tmp_path / "grid", model).mean("a")
    assert mean.accuracy.value == 0
    assert (mean.pt.value, mean.pt.runs, mean.runs) == (None, 0, 3)


def test_a_killed_grid_goes_on_where_it_was(image_set, tmp_path: Path) -> None:
    manifest = image_set(6, 70)
    whole = grid_of(job(manifest), tmp_path / "whole", FakeSpec(light))
    cut, rest, none = (function_models.Interrupting(at, light) for at in (24, -1, -1))
    with pytest.raises(KeyboardInterrupt):
        grid_of(job(manifest), tmp_path / "cut", FakeSpec(cut))
    assert [cell.status for cell in load_grid(tmp_path / "cut").cells] == ["complete", "partial"]
    resumed = grid_of(job(manifest), tmp_path / "cut", FakeSpec(rest))
    assert resumed.document == whole.document
    assert rest.calls < 4 * 17 - 17, "what was complete was computed again"
    grid_of(job(manifest), tmp_path / "cut", FakeSpec(none))
    assert none.calls == 0, "a finished grid opened the model"


def test_a_grid_grows_and_holds_runs_of_one_setting(image_set, tmp_path: Path) -> None:
    one = job(image_set(3, 70))
    grid_of(one, tmp_path / "grid", FakeSpec(light), ("contrast:1",))
    grown = grid_of(one, tmp_path / "grid", FakeSpec(light), (None, "pixelate:1"))
    assert [cell.run for cell in grown.cells] == ["clean", "contrast-1", "pixelate-1"]
    other = replace(one, measurement=replace(one.measurement, seed=3))
    with pytest.raises(RunError, match=r"differ in measurement\.seed"):
        grid_of(other, tmp_path / "grid", FakeSpec(light), ("fog:1",))
    with pytest.raises(RunError, match="is one run"):
        grid_of(one, tmp_path / "grid" / "clean", FakeSpec(light))
    with pytest.raises(RunError, match="it holds runs; name one"):
        read_run(tmp_path / "grid")


@pytest.fixture
def grid(image_set, tmp_path: Path) -> Grid:
    return grid_of(job(image_set(4, 70)), tmp_path / "grid", FakeSpec(light))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"heads": {"a": {"n": 4}}}', "\xff"])
def test_a_damaged_summary_in_a_grid_is_computed_again(grid: Grid, text: str) -> None:
    expected = load_grid(grid.folder).document
    (grid.folder / "contrast-1" / "summary.json").write_text(text, encoding="latin-1")
    assert load_grid(grid.folder).document == expected


def test_a_grid_does_not_trust_the_summary_of_a_run_that_lost_parts(grid: Grid) -> None:
    (grid.folder / "contrast-1" / "parts.jsonl").write_text("")
    with pytest.raises(RunError, match=r"contrast-1.*--repair"):
        load_grid(grid.folder)


def test_a_run_that_lost_its_record_is_no_grid(grid: Grid) -> None:
    run = grid.folder / "contrast-1"
    (run / "run.json").rename(run / "precision.json")
    (run / "precision").mkdir()
    (run / "precision.json").rename(run / "precision" / "run.json")
    assert not is_grid(run)
