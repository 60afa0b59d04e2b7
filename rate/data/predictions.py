"""The predictions of samples, from a column of a manifest or of any table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
from pyarrow import parquet

from rate.errors import DataError

ALIASES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "sample_id", "image", "filename", "file_name", "path"),
    "prediction": ("prediction", "predicted", "pred", "predicted_label", "predicted_class", "y_pred"),
}
"""The usual names of a column, without regard to case; the first that there is, is used."""

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
CURE = (
    "add a column `prediction` with names of classes, or give --predictions TABLE with `id` and `prediction`, or "
    "--artifact"
)


def read_predictions(path: Path) -> dict[str, str]:
    """Map the ids of samples, or of their images, to the predicted classes; rows without a prediction are left out.

    Args:
        path: .csv, .tsv, .jsonl or .parquet, such as a manifest.

    Raises:
        DataError: the file cannot be read, lacks a column, or has two rows of one sample.
    """
    try:
        table = _table(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    ids, predictions = (table[_column(path, table.column_names, what)] for what in ("id", "prediction"))
    named: dict[str, str] = {}
    for sample, prediction in zip(ids.to_pylist(), predictions.to_pylist(), strict=True):
        if sample is None or prediction is None or not str(prediction).strip():
            continue
        if isinstance(prediction, float | bool) or not isinstance(prediction, str | int):
            raise DataError(f"{path}: the prediction of {sample!r} is {prediction!r}, expected the name of a class")
        if str(sample) in named:
            raise DataError(f"{path} has two predictions of {str(sample)!r}; keep one")
        named[str(sample)] = str(prediction)
    if not named:
        raise DataError(f"{path} has no prediction in any row; {CURE}")
    return named


def _table(path: Path) -> pa.Table:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        names = parquet.read_schema(path).names
        return parquet.read_table(path, columns=list({_column(path, names, what) for what in ALIASES}))
    if suffix == ".jsonl":
        return pyarrow.json.read_json(path)
    if suffix not in SUFFIXES:
        raise DataError(f"{path} ends in {suffix!r}; predictions are in a {', '.join(SUFFIXES)} file")
    parsed = pyarrow.csv.ParseOptions(delimiter="\t" if suffix == ".tsv" else ",", newlines_in_values=True)
    with pyarrow.csv.open_csv(path, parse_options=parsed) as file:
        names = file.schema.names
    chosen = list({_column(path, names, what) for what in ALIASES})
    texts = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(chosen, pa.string()),
        include_columns=chosen,
        null_values=[""],
        strings_can_be_null=True,
    )
    return pyarrow.csv.read_csv(path, parse_options=parsed, convert_options=texts)


def _column(path: Path, names: list[str], what: str) -> str:
    known = {name.strip().casefold(): name for name in reversed(names)}
    for alias in ALIASES[what]:
        if alias in known:
            return known[alias]
    raise DataError(f"{path} has no column {ALIASES[what][0]!r}; it has {', '.join(names)}; {CURE}")
