"""`rate grid`: folders of runs over a range of models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.cli.console import LogJson, Steps, notice
from rate.cli.eval import as_resumable
from rate.cli.options import Config, Shown, with_settings
from rate.cli.runs import print_curve
from rate.config import Measurement
from rate.errors import ConfigError, RunError
from rate.execution import Execution
from rate.export.options import ExportOptions
from rate.reading import Reading

if TYPE_CHECKING:
    from rate.artifacts.artifact import Artifact
    from rate.engine.evaluate import Progress

_READ, _MEASURE, _EXECUTE = "How the set is read", "What is measured", "How it is carried out"
_EXPORT, _AS_EXPORT = "What is exported", "As of `rate export`."

app = typer.Typer(help="Folders of runs over a range of models.", no_args_is_help=True)


@app.command("wise")
@with_settings
def wise(
    base: Annotated[str, typer.Argument(help="SOURCE of the model at alpha 0, as `rate export` takes it.")],
    tuned: Annotated[str, typer.Argument(help="SOURCE of the model at alpha 1, fine-tuned from BASE.")],
    data: Annotated[str, typer.Argument(help="Manifest or shards, as `rate eval` takes them.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder of runs; an interrupted one resumes in it.")],
    alphas: Annotated[str, typer.Option(help="Shares of TUNED in the weights.")] = "0,0.25,0.5,0.75,1",
    config: Config = None,
    classes: Annotated[Path | None, typer.Option(help=_AS_EXPORT, rich_help_panel=_EXPORT)] = None,
    templates: Annotated[Path | None, typer.Option(help=_AS_EXPORT, rich_help_panel=_EXPORT)] = None,
    head: Annotated[list[str] | None, typer.Option(help=_AS_EXPORT, rich_help_panel=_EXPORT)] = None,
    split: Annotated[str | None, typer.Option(help="Only rows of this split.")] = None,
    reading: Annotated[Reading, Shown(_READ)],
    measurement: Annotated[Measurement, Shown(_MEASURE)],
    execution: Annotated[Execution, Shown(_EXECUTE)],
    as_json: Annotated[bool, typer.Option("--json", help="Print wise.json.")] = False,
    log_json: LogJson = False,
) -> None:
    """Evaluate the weights between two models (WiSE-FT): accuracy, PT, IR and the gap over alpha.

    Exit codes: 0 done, 2 nothing could be started, 4 failed or too many failed samples, 130 interrupted (resumable).
    """
    from rate.data.evaluation_set import read_evaluation_set
    from rate.data.mask_table import recorded
    from rate.data.storage.objects import url_of
    from rate.records import write
    from rate.studies.wise_curve import ARTIFACTS, WISE, folder_of, load_curve

    shares = _alphas(alphas)
    if (url := url_of(out)) is not None:
        raise ConfigError(f"--out {url}: a curve is written to a folder of this machine; name one")
    if (out / "run.json").exists():
        raise RunError(f"{out} is one run, and several are to be written; choose another --out")
    wanted = ExportOptions(classes=classes, templates=templates, heads=tuple(head or ()))
    if not all((out / ARTIFACTS / folder_of(alpha)).is_dir() for alpha in shares):
        read_evaluation_set(data, split, execution.limit, reading=recorded(data, reading))  # before minutes of exports
    for alpha in shares:
        artifact = _artifact(f"wise:{alpha:g}:{base},{tuned}", wanted, out / ARTIFACTS / folder_of(alpha))
        _run(artifact, data, split, (measurement, execution, reading), out / folder_of(alpha))
    curve = load_curve(out)
    write(out / WISE, curve.document)
    print_curve(curve, as_json)


def _alphas(text: str) -> list[float]:
    try:
        shares = sorted({float(f"{float(part):g}") for part in text.split(",")})
    except ValueError:
        shares = []
    if not shares or not (shares[0] >= 0.0 and shares[-1] <= 1.0):
        raise ConfigError(f"--alphas must be numbers from 0 to 1 with commas between them, got {text!r}")
    return shares


def _artifact(source: str, options: ExportOptions, path: Path) -> Artifact:
    """Export ``source``, or load the artifact of an earlier call after a proof that it is the same model."""
    from rate.artifacts.artifact import ARTIFACT, load_artifact
    from rate.export.export import export_artifact
    from rate.export.sources.reopen import options_of, reopen

    if not (path / ARTIFACT).is_file():
        return export_artifact(source, path, options, notice)
    artifact = load_artifact(path)
    if (artifact.source, options_of(artifact.request)) != (source, options):
        raise RunError(f"{path} was exported from {artifact.source} or for other heads; choose another --out")
    reopen(artifact)
    return artifact


def _run(
    artifact: Artifact, data: str, split: str | None, settings: tuple[Measurement, Execution, Reading], out: Path
) -> None:
    from rate.engine.evaluate import evaluate
    from rate.engine.make_job import job_from_artifact
    from rate.engine.open_runner import open_runner

    job = job_from_artifact(artifact, data, split, *settings)
    with (
        as_resumable(job, out),
        open_runner(artifact, job, notice) as runner,
        Steps(out.name, len(job.samples)) as steps,
    ):

        def observe(now: Progress) -> None:
            steps.show(now.stored + now.done, f"{now.errors} errors" if now.errors else "")

        evaluate(job, runner, out, observe)
