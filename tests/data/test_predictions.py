"""Tables of predictions: columns by their usual names, and what is no prediction."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from rate.data.predictions import read_predictions
from rate.errors import DataError

EXPECTED = {"007": "cat, big", "b.jpg": "dog"}


def test_every_form_of_a_table_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('score,ID,Predicted\n1,007,"cat, big"\n2,b.jpg,dog\n3,c,\n')
    (tmp_path / "b.tsv").write_text("y_pred\timage\ncat, big\t007\ndog\tb.jpg\n")
    rows = [{"filename": name, "pred": value} for name, value in EXPECTED.items()]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pa.Table.from_pylist([row | {"map": b"\0"} for row in rows]), tmp_path / "d.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert read_predictions(path) == EXPECTED, path


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "id,label\n1,cat\n", "has no column 'prediction'; it has id, label; add a column `prediction`"),
        ("a.csv", "name,prediction\n1,cat\n", "has no column 'id'"),
        ("a.csv", "id,prediction\n1,cat\n1,dog\n", "two predictions of '1'"),
        ("a.csv", "id,prediction\n1,\n", "no prediction in any row"),
        ("a.csv", "", "cannot be read"),
        ("a.jsonl", '{"id": 1, "prediction": 0.5}\n', "the prediction of 1 is 0.5, expected the name of a class"),
        ("a.jsonl", "[", "cannot be read"),
        ("a.txt", "", "ends in '.txt'; predictions are in a .csv, .tsv"),
        ("a.parquet", "PAR1", "cannot be read"),
    ],
)
def test_what_says_no_prediction_is_refused(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        read_predictions(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path / "none.csv")
