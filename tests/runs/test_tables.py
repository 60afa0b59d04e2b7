"""Files of a run: what is read is what was written, or the file is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_rows import row

from rate.runs.parts import DamagedTableError, about_of, read_table, write_table
from rate.runs.rows import MAP_SCHEMA, SCHEMA

TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=4)
ROW = st.fixed_dictionaries(
    {
        "id": TEXT,
        "head": TEXT,
        "label": TEXT,
        "prediction": st.none() | TEXT,
        "probability": st.none() | st.floats(width=32, allow_nan=False),
        "correct": st.none() | st.booleans(),
        "forwards": st.integers(-(2**31), 2**31 - 1),
        "settled": TEXT,
        "evidence_sketch": st.none() | st.binary(max_size=4),
    }
)


def rows() -> pa.Table:
    return pa.Table.from_pylist([row(f"s{k}", "ft", state) for k, state in enumerate(("rr", "ww", "error"))], SCHEMA)


@settings(max_examples=50)
@given(found=st.lists(ROW, max_size=5), columns=st.lists(st.sampled_from(SCHEMA.names), min_size=1, unique=True))
def test_any_rows_come_back_whole_and_in_columns(
    tmp_path_factory: pytest.TempPathFactory, found: list[dict], columns: list[str]
) -> None:
    path = tmp_path_factory.mktemp("table") / "a.parquet"
    table = pa.Table.from_pylist([dict.fromkeys(SCHEMA.names) | one for one in found], SCHEMA)
    write_table(table, path, {"key": "k"})
    whole = read_table(path, SCHEMA)
    assert whole.to_pylist() == table.to_pylist()
    assert about_of(whole, "key") == "k"
    assert read_table(path, SCHEMA, columns).to_pylist() == table.select(columns).to_pylist()


@pytest.mark.parametrize("kind", ["rows", "maps"])
def test_no_flipped_bit_is_read_as_something_else(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.parquet"
    if kind == "rows":
        table = rows()
    else:
        saved = {"id": "s", "head": "a", "quadrant": "rr", "rank": 1, "side": 2, "map": bytes(8)}
        table = pa.Table.from_pylist([saved, saved | {"id": "t"}], MAP_SCHEMA)
    write_table(table, path)
    data, refused = bytearray(path.read_bytes()), 0
    for bit in random.Random(0).sample(range(8 * len(data)), 600):
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            assert read_table(path, table.schema).to_pylist() == table.to_pylist()
        except DamagedTableError:
            refused += 1
        data[bit // 8] ^= 1 << bit % 8
    assert refused > 200, "most bits matter"


def test_a_changed_value_with_its_own_checksums_is_refused(tmp_path: Path) -> None:
    """As another tool would write it: the pages are whole, the digests are those of other values."""
    path = tmp_path / "a.parquet"
    write_table(rows(), path)
    table = pq.read_table(path)
    at = table.schema.get_field_index("valid")
    changed = table.set_column(at, table.schema.field(at), pa.array([False, True, None]))
    pq.write_table(changed, path, write_page_checksum=True)
    with pytest.raises(DamagedTableError, match="valid"):
        read_table(path, SCHEMA)
    assert read_table(path, SCHEMA, ["id", "correct"]).num_rows == 3


def test_a_file_of_an_earlier_version_is_read_without_digests(tmp_path: Path) -> None:
    pq.write_table(rows(), tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", SCHEMA).to_pylist() == rows().to_pylist()
