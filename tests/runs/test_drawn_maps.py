"""The file of drawn maps holds what is wanted, whatever was there, and is written as they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rate.data.digests import fingerprint
from rate.errors import StorageError
from rate.runs.maps import DrawnMaps, read_maps
from rate.runs.parts import write_table
from rate.runs.rows import MAP_SCHEMA
from rate.types import Json

WANTED = {("s1", "a"): "rr", ("s2", "a"): "rw", ("s2", "b"): "undefined"}


def drawn(name: str, head: str, level: float, quadrant: str = "ww") -> Json:
    map_ = np.full((2, 2), level, np.float16).tobytes()
    return {"id": name, "head": head, "quadrant": quadrant, "rank": fingerprint(name), "side": 2, "map": map_}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "maps").mkdir()
    return tmp_path


def stored(run: Path) -> dict[tuple[str, str], tuple[str, float]]:
    path = run / "maps" / "maps.parquet"
    maps = read_maps(path).to_pylist() if path.exists() else []
    return {(m["id"], m["head"]): (m["quadrant"], float(np.frombuffer(m["map"], np.float16)[0])) for m in maps}


def test_they_are_written_as_they_come(run: Path) -> None:
    """What is written before the end is what a killed process leaves."""
    with DrawnMaps(run, WANTED, write_seconds=0.0) as maps:
        maps.add([drawn("s1", "a", 0.25)])
        assert stored(run) == {("s1", "a"): ("rr", 0.25)}
        assert maps.missing() == {"s2"}
    with DrawnMaps(run, WANTED) as maps:
        maps.add([drawn("s2", "a", 0.5), drawn("s2", "b", 0.5), drawn("s3", "a", 1.0)])
        assert len(stored(run)) == 1, "not yet due"
    assert stored(run) == {("s1", "a"): ("rr", 0.25), ("s2", "a"): ("rw", 0.5), ("s2", "b"): ("undefined", 0.5)}
    assert not DrawnMaps(run, WANTED).missing()


def test_what_is_wanted_no_more_is_replaced(run: Path) -> None:
    old = [drawn("s1", "a", 0.25, "ww"), drawn("s2", "a", 0.25, "rw"), drawn("s9", "a", 0.25, "rr")]
    write_table(pa.Table.from_pylist(old, MAP_SCHEMA), run / "maps" / "maps.parquet")
    with DrawnMaps(run, WANTED) as maps:
        assert maps.missing() == {"s1", "s2"}, "the first is in another quadrant, the second lacks a head"
        maps.add([drawn("s1", "a", 0.5), drawn("s2", "a", 0.5), drawn("s2", "b", 0.5)])
    assert stored(run) == {("s1", "a"): ("rr", 0.5), ("s2", "a"): ("rw", 0.5), ("s2", "b"): ("undefined", 0.5)}


def test_the_last_maps_are_written_after_an_error_too(run: Path) -> None:
    def draw_two(check: object = lambda: None) -> None:
        with DrawnMaps(run, WANTED, check) as maps:
            maps.add([drawn("s1", "a", 0.5)])
            raise KeyboardInterrupt

    def moved() -> None:
        raise StorageError("the folder was moved")

    with pytest.raises(KeyboardInterrupt):
        draw_two(moved)
    assert stored(run) == {}
    with pytest.raises(KeyboardInterrupt):
        draw_two()
    assert stored(run) == {("s1", "a"): ("rr", 0.5)}
    with pytest.raises(StorageError), DrawnMaps(run, WANTED, moved) as maps:
        maps.add([drawn("s2", "a", 0.5)])
