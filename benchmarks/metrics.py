"""rate-bench-graded: which number ranks models by how far they truly rest on the object?

The models are those of `benchmarks.graded_models`, whose true share of object and scene is known by rendering. Every
number of `benchmarks.metric_values` has one value a model, all from the same pictures, and is judged by how it ranks
the models by their mean true share over the right predictions. Methods of one encoder are not independent: intervals
at 95 % are percentiles over encoders drawn with replacement.

    python -m benchmarks.metrics [--work build/graded] [--pictures 100] [--masks 128] [--towers resnet vit] [--trained]
    python -m benchmarks.metrics --add NAME=FILE.csv
    python -m benchmarks.metrics --graded

``--graded`` judges the accuracy and every PT that `benchmarks.graded` has recorded by the true PT of the same pictures.
``--add`` judges a number of your own: a row a model with the columns tower, shortcut, rho, seed, method and value,
larger where a model rests more on the object. Rows and numbers of earlier calls stay in the table.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import graded, graded_models, record
from benchmarks.graded_scores import Scores, read
from benchmarks.graded_truth import labelled, true_shares
from benchmarks.metric_ranks import APART, DRAWS, ENCODER, Row, by_rank, draw, judged
from benchmarks.metric_values import METRICS, instruments, mean, numbers
from rate.kernels.score import SCORES

NAME = "metrics"
KEY = (*ENCODER, "method")
ABOUT = (*KEY, "pictures", "masks", "right", "true_share", "true_pt")
SCORE = "centred"
DRAWN = 300


def main() -> None:
    """Measure the models, or add somebody's number, and judge all numbers of the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("build/graded"), help="where the models are, or are trained")
    parser.add_argument("--pictures", type=int, default=100, help=f"of a set of {DRAWN}")
    parser.add_argument("--masks", type=int, default=128, help="masks of a RISE map, which costs as many forwards")
    parser.add_argument("--towers", nargs="+", default=list(graded_models.TOWERS))
    parser.add_argument("--shortcuts", nargs="+", default=list(graded_models.SHORTCUTS))
    parser.add_argument("--rhos", nargs="+", type=float, default=list(graded_models.RHOS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trained", action="store_true", help="only models that an earlier call has trained")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help=f"folder of {NAME}.csv and {NAME}.json")
    parser.add_argument("--plot", type=Path, help="an SVG file for the figure")
    parser.add_argument("--add", action="append", default=[], metavar="NAME=FILE.csv")
    parser.add_argument("--graded", action="store_true", help="judge what benchmarks.graded has recorded")
    arguments = parser.parse_args()
    if arguments.graded:
        conclude_graded(arguments.results, arguments.plot)
        return
    table = arguments.results / f"{NAME}.csv"
    rows = read_rows(table) if table.exists() else []
    if arguments.add:
        try:
            for text in arguments.add:
                rows = added(rows, text)
        except ValueError as wrong:
            parser.error(f"--add {text}: {wrong}")
        conclude(rows, arguments.results, arguments.plot)
        return
    asked = arguments.pictures, arguments.masks
    if other := {(int(row["pictures"]), int(row["masks"])) for row in rows} - {asked}:
        parser.error(f"{table} has models by (pictures, masks) {other.pop()}, got {asked}; give these, or --results")
    for tower in arguments.towers:
        for shortcut in arguments.shortcuts:
            for rho in arguments.rhos:
                recipe = graded_models.Recipe(tower, shortcut, rho, arguments.seed)
                if not arguments.trained or graded_models.trained(arguments.work, recipe):
                    rows = merged(rows, measured(arguments, recipe))
                    write_rows(table, rows)
    conclude(rows, arguments.results, arguments.plot)


def key(row: Row) -> tuple[Any, ...]:
    """What a model is known by."""
    return tuple(row[name] for name in KEY)


def read_rows(path: Path) -> list[Row]:
    """Rows of a CSV file; what is a number becomes one, and an empty field None."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str) -> str | float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write a row a model, with every column that any of them has."""
    columns = dict.fromkeys(name for row in rows for name in row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)


def merged(rows: list[Row], new: list[Row]) -> list[Row]:
    """Replace the rows of the same models, and add those of others."""
    return [*(row for row in rows if key(row) not in set(map(key, new))), *new]


def added(rows: list[Row], text: str) -> list[Row]:
    """Give the rows a number from ``NAME=FILE``, whose every row must be of a model of the table.

    Raises:
        ValueError: says what does not fit, and what would.
    """
    name, _, file = text.partition("=")
    if not name or not file or name in (*METRICS, *ABOUT) or name.startswith("forwards_"):
        raise ValueError("expected NAME=FILE.csv with a name that the table does not use")
    if not Path(file).is_file():
        raise ValueError(f"there is no such file; it should have the columns {', '.join(KEY)} and value")
    theirs = read_rows(Path(file))
    if missing := [column for column in (*KEY, "value") if not theirs or column not in theirs[0]]:
        raise ValueError(f"the file lacks the columns {', '.join(missing)}; it needs a row a model")
    values, models = {key(row): row["value"] for row in theirs}, {key(row) for row in rows}
    for model, value in values.items():
        if model not in models:
            raise ValueError(f"the file has a model which the table has not, {model}; measure the models first")
        if isinstance(value, str):
            raise ValueError(f"the value {value!r} of the model {model} is no number")
    return [{**row, name: values.get(key(row))} for row in rows]


def measured(arguments: argparse.Namespace, recipe: graded_models.Recipe) -> list[Row]:
    """A row each of the four methods of an encoder."""
    work, pictures = arguments.work, arguments.pictures
    folder = graded_models.data(work, recipe, recipe.rho, 0, DRAWN, 300 + recipe.seed)
    drawn = read(folder, pictures)
    measurements = instruments(arguments.masks, attention=recipe.tower == "vit")
    known: dict[Path, dict[str, dict[str, float | None]]] = {}
    rows = []
    for method, (artifact, head) in graded_models.adapted(work, recipe).items():
        if artifact.path not in known:
            known[artifact.path] = numbers(artifact, folder, pictures, measurements)
        seen = labelled(drawn, artifact, head)
        scores = Scores(artifact, seen, work / "logits" / f"{recipe.name}-{artifact.path.name}-{pictures}")
        right = scores.clean()[head].argmax(axis=1) == seen.labels
        truth = true_shares(scores, head, seen)[SCORES.index(SCORE)][right]
        truth = truth[np.isfinite(truth)]
        about = (*(getattr(recipe, name) for name in ENCODER), method, pictures, arguments.masks, int(right.sum()))
        true = mean(truth), mean(truth >= 0.5)
        row = dict(zip(ABOUT, (*about, *true), strict=True)) | known[artifact.path][head]
        rows.append({name: round(value, 5) if isinstance(value, float) else value for name, value in row.items()})
        print(f"{recipe.name} {method}: true share {true[0]:.3f}, PT by swaps {row['pt_swaps']:.3f}", flush=True)
    return rows


def conclude(rows: list[Row], results: Path, plot: Path | None) -> None:
    """Judge every number of the table, and write the table, the figures and the plot."""
    columns = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
    names = [name for name in columns if name not in ABOUT and not name.startswith("forwards_")]
    found = judged(rows, names, "true_share")
    write_rows(results / f"{NAME}.csv", rows)
    record.write(NAME, {**_about(rows), "metrics": found}, results)
    if plot is not None:
        draw(rows, found, ("accuracy", "accuracy_broken", "pt_swaps", "pointing"), "true_share", plot)


def _about(rows: list[Row]) -> dict[str, Any]:
    encoders = {tuple(row[name] for name in ENCODER) for row in rows}
    return {"models": len(rows), "encoders": len(encoders), "score": SCORE, "apart": APART, "draws": DRAWS}


def conclude_graded(results: Path, plot: Path | None) -> None:
    """Judge what `benchmarks.graded` has recorded: swaps of many pictures, and maps of fewer of them."""
    swaps, maps = graded_rows("swap"), graded_rows("m")
    found = {}
    for kind, rows in (("swaps", swaps), ("maps", maps)):
        found[kind] = judged(rows, [name for name in rows[0] if name not in ABOUT], "true_pt")
    record.write(f"{NAME}_graded", {**_about(swaps), **found}, results)
    if plot is not None:
        shown = ("accuracy", "swap 8, covered, box", "swap 1, mean, box", "swap 8, pictures, mask")
        of_rate = [one for one in found["maps"] if one["metric"].startswith("map") and "Shapley" in one["metric"]]
        draw(swaps, by_rank([*found["swaps"], *of_rate]), shown, "true_pt", plot)


def graded_rows(kind: str) -> list[Row]:
    """A row a model with its accuracy and every PT by instruments whose names begin with ``kind``.

    Its true PT is that beside the instrument which left the fewest pictures undefined.
    """
    chosen = [one for one in read_rows(graded.TABLE) if one["score"] == SCORE and one["instrument"].startswith(kind)]
    models: dict[tuple[Any, ...], Row] = {}
    for one in sorted(chosen, key=lambda one: one["undefined"]):
        model = one | {"seed": 0}
        about = {name: model[name] for name in KEY} | {"true_pt": one["pt_true"], "accuracy": one["accuracy"]}
        models.setdefault(key(model), about)[one["instrument"]] = one["pt"]
    return list(models.values())


if __name__ == "__main__":
    main()
