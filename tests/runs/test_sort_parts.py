"""The rows of a run in order of rank."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from rate.runs.rows import SCHEMA
from rate.runs.sort_parts import StoredTwiceError, write_in_order


def rows(*of: tuple[str, str]) -> pa.Table:
    empty = dict.fromkeys(SCHEMA.names)
    given = {"label": "a", "forwards": 1, "settled": "fixed"}
    return pa.Table.from_pylist([empty | given | {"id": one, "head": head} for one, head in of], SCHEMA)


@pytest.mark.parametrize("least", [1, 100])
def test_a_row_that_comes_twice_is_found_also_where_another_is_missing(tmp_path: Path, least: int) -> None:
    (tmp_path / "samples").mkdir()
    tables = [rows(("a", "ft"), ("b", "ft"), ("b", "lp")), rows(("a", "ft"))]
    with pytest.raises(StoredTwiceError, match="'a' is stored twice"):
        write_in_order(tmp_path, "k", tables, 4, least)
