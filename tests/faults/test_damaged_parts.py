"""Parts that are truncated, changed, exchanged or gone: found out, named, and made whole by `--repair`."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from eval_command import arguments
from msgspec import structs
from stored_rows import differences, stored

from rate.cli.main import run
from rate.engine.evaluate import evaluate
from rate.runs.part_list import PartLog, read_list
from rate.runs.run_document import read_run


@pytest.fixture(scope="module")
def finished(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of several parts."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rate.engine.evaluate.evaluate", partial(evaluate, part_rows=3, sorted_rows=3))
        assert run(arguments(trained, folder)) == 0
    assert len(read_list(folder)) > 1
    return folder


@pytest.fixture
def out(finished: Path, tmp_path: Path, parts_of: Callable[[int], None]) -> Path:
    """A copy of that run."""
    parts_of(3)
    return Path(shutil.copytree(finished, tmp_path / "run"))


def first(out: Path) -> Path:
    return out / "samples" / read_list(out)[0].name


def truncated(out: Path) -> None:
    path = first(out)
    path.write_bytes(path.read_bytes()[:-200])


def emptied(out: Path) -> None:
    first(out).write_bytes(b"")


def a_flipped_bit(out: Path) -> None:
    """Inside the values of a column, which Parquet without checksums would hand on."""
    path = first(out)
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(pq.read_schema(path).get_field_index("rma_positive"))
    data[column.data_page_offset + column.total_compressed_size - 3] ^= 0x10
    path.write_bytes(bytes(data))


def a_row_less(out: Path) -> None:
    table = pq.read_table(first(out))
    pq.write_table(table.slice(1), first(out))


def other_rows(out: Path) -> None:
    """As many rows, of samples that the name does not stand for."""
    table = pq.read_table(first(out))
    ids = pa.array([f"{name}x" for name in table["id"].to_pylist()])
    pq.write_table(table.set_column(0, table.schema.field(0), ids), first(out))


def a_column_less(out: Path) -> None:
    pq.write_table(pq.read_table(first(out)).drop_columns(["settled"]), first(out))


def another_type(out: Path) -> None:
    table = pq.read_table(first(out))
    index = table.schema.get_field_index("valid")
    pq.write_table(table.set_column(index, "valid", pc.cast(table["valid"], pa.string())), first(out))


def gone(out: Path) -> None:
    first(out).unlink()


DAMAGES = [truncated, emptied, a_flipped_bit, a_row_less, other_rows, a_column_less, another_type, gone]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_named_and_repaired(
    trained, undisturbed: Path, out: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    rows = read_list(out)[0].rows
    damage(out)
    assert run(["eval", *arguments(trained, out)[1:]]) == 2
    said = capsys.readouterr().err
    assert first(out).name in said
    assert "--repair" in said
    assert run(arguments(trained, out, "--repair")) == 0
    assert not differences(undisturbed, out).any
    record = read_run(out)
    assert record.status == "complete"
    assert {path.name for path in (out / "samples").iterdir()} == {part.name for part in read_list(out)}
    assert record.sessions[-1].samples == rows, "the other parts are kept"


def test_failed_samples_are_evaluated_again_and_only_they(trained, undisturbed: Path, tmp_path: Path) -> None:
    manifest = Path(shutil.copytree(trained.manifest.parent, tmp_path / "set")) / "manifest.csv"
    image, out = manifest.parent / "3.png", tmp_path / "run"
    whole = image.read_bytes()
    image.unlink()
    assert run(arguments(trained, out, "--max-errors", "1", manifest=manifest)) == 0
    image.write_bytes(whole)
    assert run(arguments(trained, out, manifest=manifest)) == 4, "without --repair what is stored stays"
    assert [row["id"] for row in stored(out) if row["error"]] == ["s3"]
    assert run(arguments(trained, out, "--repair", manifest=manifest)) == 0
    assert not differences(undisturbed, out).any
    assert read_run(out).sessions[-1].samples == 1


def test_damaged_maps_are_made_again_by_repair(
    trained, undisturbed: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone(out)
    maps = out / "maps" / "maps.parquet"
    whole = pq.read_table(maps)
    maps.write_bytes(maps.read_bytes()[:-50])
    assert run(["report", str(undisturbed), str(out), "--out", str(out.with_name("r.html"))]) == 2
    assert "--repair" in capsys.readouterr().err
    assert run(arguments(trained, out, "--repair")) == 0
    order = [("head", "ascending"), ("id", "ascending")]
    assert pq.read_table(maps).sort_by(order).equals(whole.sort_by(order))
    assert not differences(undisturbed, out).any


@pytest.mark.parametrize("seed", range(3))
def test_repair_survives_any_flipped_bit_of_a_part_and_of_the_maps(
    trained, undisturbed: Path, out: Path, seed: int
) -> None:
    """Names of columns, places of pages, digests and all."""
    rng = random.Random(seed)
    for path in (first(out), out / "maps" / "maps.parquet"):
        data = bytearray(path.read_bytes())
        metadata = pq.read_metadata(path).serialized_size
        data[-8 - rng.randrange(metadata)] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    assert run(arguments(trained, out, "--repair")) == 0
    assert not differences(undisturbed, out).any


def test_a_flipped_bit_in_the_name_of_a_column_is_repaired(trained, undisturbed: Path, out: Path) -> None:
    path = first(out)
    data = path.read_bytes()
    at = data.rindex(b"settled")
    for place in (at, data.index(b"settled")):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :])
        assert run(arguments(trained, out, "--repair")) == 0
        assert not differences(undisturbed, out).any


def test_a_run_lists_names_and_no_paths(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = read_list(out)
    for name in ("../../etc/x.parquet", "/etc/x.parquet"):
        PartLog(out).replace([structs.replace(listed[0], name=name), *listed[1:]])
        assert run(["show", str(out)]) == 2
        assert "parts.jsonl, line 1: Expected `str` matching regex" in capsys.readouterr().err
