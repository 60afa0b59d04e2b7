"""Stored figures: read back as they were written, and compared with what they may be compared with."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from rate.bench.document import Against, RoundValues, Row
from rate.bench.history import COLUMNS, QUANTITIES, append, compare, open_history, read_history
from rate.errors import ConfigError

ROW = Row(
    date="2026-01-01T00:00:00Z",
    machine="A CPU, with a comma, 2 cores",
    versions="rate 0.1.0, numpy 2.4.6",
    artifact="abc",
    data="parity sample",
    backend="openvino",
    precision="bf16",
    batch=32,
    threads=2,
    masks=256,
    images=6,
    raw_forwards_per_s=RoundValues.of((21.0, 20.0, 22.0)),
    engine_forwards_per_s=RoundValues.of((10.0, 9.0, 11.0)),
    engine_over_raw=RoundValues.of((0.5, 0.45, 0.5)),
    images_per_s=RoundValues.of((0.04, 0.03, 0.05)),
)
GOOD = dict(zip(COLUMNS, ["x"] * 7 + ["1", "1", "auto", "1"] + ["1.5"] * 16, strict=True))

_TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12)
_SPREADS = st.lists(st.floats(1e-6, 1e9, allow_nan=False), min_size=1, max_size=4).map(RoundValues.of)
_ROWS = st.builds(
    structs.replace,
    st.just(ROW),
    machine=_TEXT,
    masks=st.one_of(st.just("auto"), st.integers(2, 10_000)),
    **dict.fromkeys(QUANTITIES, _SPREADS),
)


@settings(max_examples=60)  # every example syncs the disk twice
@given(st.lists(_ROWS, min_size=1, max_size=4), st.integers(0, 4))
def test_rows_are_read_as_they_were_appended(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], at: int
) -> None:
    """To the last bit, in order, in one go or in two, with a final line end or without."""
    path = tmp_path_factory.mktemp("rows") / "more" / "bench.csv"
    append(path, rows[:at])
    path.write_text(path.read_text().rstrip("\n"))
    append(path, rows[at:])
    assert read_history(path, "--csv") == {row.identity: row for row in rows}


def against(row: Row, *stored: Row) -> Against:
    return compare([row], {one.identity: one for one in stored}, "f")


def states(found: Against) -> list[str]:
    assert [change.quantity for change in found.compared] == list(QUANTITIES)
    return [change.state for change in found.compared]


@pytest.mark.parametrize(
    ("now", "state"),
    [
        ((7.0, 8.0), "slower"),
        ((7.0, 8.999), "slower"),
        ((7.0, 9.0), "same"),
        ((9.5, 10.5), "same"),
        ((5.0, 20.0), "same"),
        ((11.0, 12.0), "same"),
        ((11.001, 12.0), "faster"),
    ],
)
def test_slower_is_beyond_both_spreads(now: tuple[float, float], state: str) -> None:
    found = against(structs.replace(ROW, engine_forwards_per_s=RoundValues.of(now)), ROW)
    assert states(found) == ["same", state, "same", "same"]
    assert found.regression is (state == "slower")


def test_a_single_round_is_not_judged_and_a_new_row_neither() -> None:
    slow = structs.replace(ROW, **dict.fromkeys(QUANTITIES, RoundValues.of([0.001])))
    for row, stored, state in ((slow, [ROW], "unjudged"), (ROW, [slow], "unjudged"), (ROW, [], "new")):
        found = against(row, *stored)
        assert states(found) == [state] * 4
        assert found.regression is None


@pytest.mark.parametrize(
    "other",
    [
        {"machine": "another"},
        {"artifact": "other"},
        {"data": "digest"},
        {"backend": "onnxruntime"},
        {"precision": "f32"},
        {"batch": 8},
        {"threads": 1},
        {"masks": "auto"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_only_the_same_machine_and_configuration_is_compared(other: dict[str, object]) -> None:
    found = against(ROW, structs.replace(ROW, **other))
    assert states(found) == ["new"] * 4
    assert not found.dates


def test_the_last_stored_row_counts_whatever_its_versions(tmp_path: Path) -> None:
    path = tmp_path / "bench.csv"
    older, newer = (structs.replace(ROW, date=date, versions="rate 0.0.1") for date in ("2025", "2026"))
    append(path, [older, structs.replace(newer, images_per_s=RoundValues.of([7.0, 8.0]))])
    found = compare([ROW], open_history(None, path), str(path))
    assert (found.dates, found.versions) == (("2026",), ("rate 0.0.1",))
    assert found.compared[-1].before == RoundValues.of([7.0, 8.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no file of this version of `rate bench`: .*; name another file"),
        ("id,image\n", "is no file of this version of `rate bench`"),
        ("date,machine,quantity,median,min,max,rounds\n", "is no file of this version of `rate bench`"),
        ("x" * 200_000, "cannot be read: field larger than field limit"),
        ("\0", "is no file of this version"),
    ],
    ids=["empty", "another", "an older one", "one endless line", "no text"],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bench.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_history(path, "--against")
    with pytest.raises(ConfigError, match=r"--against .* cannot be read"):
        read_history(tmp_path / "absent.csv", "--against")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"batch": "x"}, "batch"),
        ({"masks": ""}, "masks"),
        ({"images_per_s_median": "nan"}, "images_per_s.median"),
        ({"engine_over_raw_max": "inf"}, "engine_over_raw.max"),
        ({"raw_forwards_per_s_min": "0"}, "raw_forwards_per_s.min"),
        ({"raw_forwards_per_s_rounds": ""}, "raw_forwards_per_s.rounds"),
        ({"raw_forwards_per_s_rounds": "1 2 many"}, "raw_forwards_per_s.rounds"),
        ({"more": "a cell too many"}, "Expected `str` - at `key`"),
        ({name: None for name in COLUMNS[2:]}, "versions"),
    ],
)
def test_a_line_that_is_no_row_is_refused_with_its_number_and_column(
    tmp_path: Path, changes: dict[str, str | None], message: str | None
) -> None:
    path = tmp_path / "bench.csv"
    append(path, [ROW])
    with path.open("a") as file:
        file.write(",".join(cell for cell in (GOOD | changes).values() if cell is not None) + "\n")
    if message is None:
        assert len(read_history(path, "--csv")) == 2
        return
    with pytest.raises(ConfigError, match=rf"--csv .* line 3 is no row: .*{message}.*; delete the line"):
        read_history(path, "--csv")
