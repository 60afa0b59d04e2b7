"""Stored figures: read back as they were written, and compared with what they may be compared with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rate.bench.plan import Refused
from rate.bench.result import CAVEAT, BenchResult, Figures, MaskedFigures, MeasuredArtifact, MeasuredData, Spread
from rate.errors import ConfigError
from rate.report.tables.bench import bench_table, spread
from rate.report.tables.bench_csv import BENCH_COLUMNS, Against, Row, append, compare, read_stored, rows_of

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
    masks="256",
    quantity="engine_forwards_per_s",
    median=10.0,
    min=9.0,
    max=11.0,
    rounds=3,
)

_POSITIVE = st.floats(1e-6, 1e9, allow_nan=False)
_TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12)
_ROWS = st.builds(
    dataclasses.replace, st.just(ROW), machine=_TEXT, masks=_TEXT, median=_POSITIVE, min=_POSITIVE, max=_POSITIVE
)


@given(st.lists(_ROWS, min_size=1, max_size=4), st.integers(0, 4))
def test_rows_are_read_as_they_were_appended(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], at: int
) -> None:
    """To the last bit, in order, in one go or in two, with a final line end or without."""
    path = tmp_path_factory.mktemp("rows") / "more" / "bench.csv"
    append(path, rows[:at])
    path.write_text(path.read_text().rstrip("\n"))
    append(path, rows[at:])
    assert read_stored(path, "--csv") == rows


def made(raw: float = 20.0, images: str = "parity sample") -> BenchResult:
    masked = MaskedFigures(
        256, 2, Spread.of((9.0, 10.0, 12.0)), Spread.of((0.9, 0.95, 1.0)), Spread.of((0.03, 0.04, 0.05))
    )
    figures = Figures("openvino", "bf16", 32, Spread.of((raw, raw + 1, raw + 2)), (masked,))
    refused = (Refused("onnxruntime", "f32", "it does not reproduce the source model"),)
    return BenchResult(
        artifact=MeasuredArtifact("timm:x", "abc"),
        data=MeasuredData("parity sample", images),
        threads=2,
        rounds=3,
        configurations=(figures,),
        refused=refused,
    )


def test_one_row_a_configuration_and_quantity() -> None:
    rows = rows_of(made())
    assert [(row.masks, row.quantity, row.median, row.min, row.max) for row in rows] == [
        ("", "raw_forwards_per_s", 21.0, 20.0, 22.0),
        ("256", "engine_forwards_per_s", 10.0, 9.0, 12.0),
        ("256", "engine_over_raw", 0.95, 0.9, 1.0),
        ("256", "images_per_s", 0.04, 0.03, 0.05),
    ]
    assert {(row.artifact, row.backend, row.precision, row.batch, row.threads, row.rounds) for row in rows} == {
        ("abc", "openvino", "bf16", 32, 2, 3)
    }
    assert len({row.identity for row in rows}) == len(rows)


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
    found = compare([dataclasses.replace(ROW, min=now[0], max=now[1])], [ROW], "f")
    assert [change.state for change in found.compared] == [state]
    assert found.regression is (state == "slower")


def test_a_single_round_is_not_judged_and_a_new_row_neither() -> None:
    slow = dataclasses.replace(ROW, min=1.0, max=1.0, rounds=1)
    for rows, stored, state in (([slow], [ROW], "unjudged"), ([ROW], [slow], "unjudged"), ([ROW], [], "new")):
        found = compare(rows, stored, "f")
        assert [change.state for change in found.compared] == [state]
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
        {"quantity": "images_per_s"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_only_the_same_machine_and_configuration_is_compared(other: dict[str, object]) -> None:
    [change] = compare([ROW], [dataclasses.replace(ROW, **other)], "f").compared
    assert change.before is None


def test_the_last_stored_row_counts_whatever_its_versions() -> None:
    older, newer = (dataclasses.replace(ROW, date=date, versions="rate 0.0.1") for date in ("2025", "2026"))
    [change] = compare([ROW], [older, newer], "f").compared
    assert change.before == newer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no file of `rate bench`"),
        ("id,image\n", "is no file of `rate bench`"),
        (",".join(BENCH_COLUMNS) + "\n" + ",".join(["1"] * 16) + "\n", "line 2"),
        (",".join(BENCH_COLUMNS) + "\n" + ",".join(["1"] * 14 + ["inf"]) + "\n", r"line 2 .*\.rounds"),
        (",".join(BENCH_COLUMNS) + "\n" + ",".join(["1"] * 13 + ["inf", "1"]) + "\n", r"line 2 .*\.max"),
        (",".join(BENCH_COLUMNS) + "\n1,2\n", r"line 2 .*\.versions"),
        (",".join(BENCH_COLUMNS) + "\n" + ",".join(["x"] * 15) + "\n", r"line 2 .*\.batch"),
        (
            ",".join(BENCH_COLUMNS) + "\n" + ",".join(["x"] * 7 + ["1", "1", "", "q", "nan", "1", "1", "3"]) + "\n",
            r"line 2 .*\.median",
        ),
        (
            ",".join(BENCH_COLUMNS) + "\n" + ",".join(["x"] * 7 + ["1", "1", "", "q", "1", "1", "1", "0"]) + "\n",
            r"line 2 .*\.rounds",
        ),
    ],
)
def test_another_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bench.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_stored(path, "--against")
    with pytest.raises(ConfigError, match=r"--against .* cannot be read"):
        read_stored(tmp_path / "absent.csv", "--against")


def printed(result: BenchResult, against: Against | None = None) -> list[str]:
    console = Console(width=400, file=None, record=True, quiet=False, no_color=True)
    with console.capture() as capture:
        console.print(bench_table(result, against))
    return capture.get().splitlines()


def test_the_table_has_every_figure_what_was_refused_and_what_it_means() -> None:
    lines = printed(made())
    assert lines[0].split()[:3] == ["backend", "batch", "masks"]
    cells = ["21.0 (20.0 - 22.0)", "10.0 (9.0 - 12.0)", "0.950 (0.900 - 1.000)", "0.0400 (0.0300 - 0.0500)"]
    assert all(cell in lines[1] for cell in cells)
    assert "refused: onnxruntime f32: it does not reproduce the source model" in lines
    assert CAVEAT in lines


def test_the_table_says_what_was_compared_and_flags_what_is_slower() -> None:
    before = [dataclasses.replace(row, versions="rate 0.0.9", date="2025-05-05") for row in rows_of(made(raw=40.0))]
    text = "\n".join(printed(made(), compare(rows_of(made()), before, "old.csv")))
    assert "against old.csv" in text
    assert "2025-05-05" in text
    assert "1 slower, 0 faster, 3 same" in text
    assert "slower: openvino bf16 batch 32 raw_forwards_per_s 21 (20 - 22), was 41 (40 - 42)" in text
    assert "versions then: rate 0.0.9" in text
    assert "REGRESSION" in text
    text = "\n".join(printed(made(), compare(rows_of(made()), [], "old.csv")))
    assert "nothing of this machine" in text
    assert "REGRESSION" not in text


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1234"), (123.45, "123"), (12.345, "12.3"), (0.039712, "0.0397"), (1.0, "1.00")]
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert spread(Spread.of((value,))) == f"{text} ({text} - {text})"
