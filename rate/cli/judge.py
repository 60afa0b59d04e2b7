"""`rate judge`: PT and IR of maps that another tool made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rate.cli.console import LogJson, notice, print_json
from rate.cli.eval import evaluated
from rate.cli.options import Config, Shown, with_settings
from rate.cli.runs import print_run
from rate.execution import Execution
from rate.judging import Judging
from rate.reading import Reading

_READ, _MEASURE = "How the set is read", "What is measured"
_EXECUTE, _OUTPUT = "How it is carried out", "Output"

EXECUTION = (
    *("backend", "precision", "batch", "threads", "io", "save_maps", "max_errors"),
    *("limit", "shard", "repair", "device"),
)
"""The settings of a run that are of use in one process."""


@with_settings
def judge(
    maps: Annotated[
        Path,
        typer.Argument(
            help="Maps by the samples' ids: .npy, .npz, .png, .safetensors, or a folder; or the URL of a .npz or "
            ".safetensors file."
        ),
    ],
    data: Annotated[str, typer.Argument(help="Manifest (.csv, .jsonl, .parquet), Parquet with images, or tar shards.")],
    *,
    out: Annotated[Path, typer.Option(help="Run folder; an interrupted run resumes in it.")],
    config: Config = None,
    split: Annotated[str | None, typer.Option(help="Only rows of this split.")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Table with id and prediction; without it, a column of DATA.", rich_help_panel=_READ),
    ] = None,
    artifact: Annotated[
        Path | None,
        typer.Option(help="Artifact that predicts, whose crop the maps cover.", rich_help_panel=_READ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="Its head that the maps explain; or a name for the result.", rich_help_panel=_READ),
    ] = None,
    reading: Annotated[Reading, Shown(_READ)],
    judging: Annotated[Judging, Shown(_MEASURE)],
    execution: Annotated[Execution, Shown(_EXECUTE, EXECUTION)],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON.", rich_help_panel=_OUTPUT)
    ] = False,
    log_json: LogJson = False,
) -> None:
    """Judge the maps of another tool: PT and IR of them as a run, for every command that takes one.

    A map of another size is interpolated, or averaged if it is larger; its positive part is the evidence.

    Exit codes: 0 done, 2 nothing could be started, 4 failed or too many failed samples, 130 interrupted (resumable).
    """
    from rate.artifacts.artifact import load_artifact
    from rate.data.given_maps import GivenMaps
    from rate.data.storage.objects import url_of
    from rate.engine.judging.job import Predicting, judged_job, open_judge
    from rate.runs.folder import refuse_foreign
    from rate.runs.remote import run_for_writing

    loaded, given = None if artifact is None else load_artifact(artifact), GivenMaps.at(maps)
    predicting = Predicting(loaded, predictions, head)
    job = judged_job(given, data, split, judging, execution, reading, predicting)
    with run_for_writing(out) as folder:
        refuse_foreign(folder)  # before the model is opened
        summary = evaluated(job, open_judge(given, job, notice), folder, "judge")
        print_json(summary.document) if as_json else print_run(summary, None)
        notice(f"next: rate report {url_of(out) or out} --out report.html")
