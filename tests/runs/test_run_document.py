"""run.json as a record: what is read is written again, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from function_models import GEOMETRY, HEADS, evaluate, job, light
from msgspec import structs

from rate.backends.fake import FakeSpec
from rate.records import schema_id
from rate.runs.run_document import RunDocument, write_run
from rate.runs.store import read_run


@pytest.mark.parametrize("shard", ["1/1", "1/2"])
def test_a_run_that_is_read_and_written_again_keeps_its_bytes(image_set, tmp_path: Path, shard: str) -> None:
    run = tmp_path / "run"
    evaluate(job(image_set(4), shard=shard), FakeSpec(light), run)
    before = (run / "run.json").read_bytes()
    write_run(run, read_run(run))
    assert (run / "run.json").read_bytes() == before


def test_a_run_names_all_of_its_settings_and_nothing_that_it_does_not_have(image_set, tmp_path: Path) -> None:
    run = tmp_path / "run"
    evaluated = job(image_set(2))
    evaluate(evaluated, FakeSpec(light), run)
    stored = json.loads((run / "run.json").read_text())
    assert stored["measurement"] == evaluated.settings
    assert stored["rule"] == evaluated.measurement.rule(), "no entry for a corruption"
    assert stored["identity"]["schema"] == schema_id(RunDocument)
    assert stored["identity"]["geometry"]["size"] == GEOMETRY.size
    assert stored["origin"]["data_from_run"] == "../set/manifest.csv"
    assert [head["name"] for head in stored["heads"]] == [head.name for head in HEADS]
    of_remote_data = structs.replace(read_run(run).origin, data_from_run=None)
    write_run(run, structs.replace(read_run(run), origin=of_remote_data))
    assert "data_from_run" not in json.loads((run / "run.json").read_text())["origin"]
