"""`rate eval`: PT and IR of an artifact on a data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.cli.console import LogJson, Steps, notice, print_json, say
from rate.cli.options import Config, Shown, with_settings
from rate.cli.runs import print_grid, print_run
from rate.config import Measurement
from rate.errors import ConfigError
from rate.execution import Execution
from rate.option import Settings, option
from rate.reading import Reading
from rate.runs.folder import refuse_foreign

if TYPE_CHECKING:
    from rate.artifacts.artifact import Artifact
    from rate.engine.evaluate import Progress
    from rate.engine.job import Job
    from rate.engine.outcome import Runner
    from rate.runs.summary.faithfulness import FaithfulnessDocument
    from rate.runs.summary.summarise import Summary
    from rate.studies.corruption_grid import Grid

_READ, _MEASURE = "How the set is read", "What is measured"
_EXECUTE, _OUTPUT = "How it is carried out", "Output"


@dataclass(frozen=True, slots=True)
class Afterwards(Settings):
    """What is asked about a run when it is complete."""

    compare_precision: int = option(0, "Afterwards, this many samples once more in f32: what the precision changes.")
    faithfulness: float = option(
        0.0,
        "Afterwards, on this share of the samples (from 1 on: a number): deletion, insertion, pointing game, "
        "and the maps of a model with its weights in random order.",
    )


@with_settings
def evaluate(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder of `rate export`.")],
    data: Annotated[str, typer.Argument(help="Manifest (.csv, .jsonl, .parquet), Parquet with images, or tar shards.")],
    *,
    out: Annotated[Path, typer.Option(help="Run folder; an interrupted run resumes in it.")],
    config: Config = None,
    split: Annotated[str | None, typer.Option(help="Only rows of this split.")] = None,
    reading: Annotated[Reading, Shown(_READ)],
    measurement: Annotated[Measurement, Shown(_MEASURE)],
    corrupt: Annotated[
        str | None,
        typer.Option(
            help="fog:3: images under that corruption of ImageNet-C, at the model's crop. fog | all:3 | all | clean, "
            "or several with commas: a folder of runs.",
            rich_help_panel=_MEASURE,
        ),
    ] = None,
    severities: Annotated[
        str | None, typer.Option(help="Of corruptions without one, 1,3,5; all five.", rich_help_panel=_MEASURE)
    ] = None,
    execution: Annotated[Execution, Shown(_EXECUTE)],
    afterwards: Annotated[Afterwards, Shown(_EXECUTE)],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate the cost, and stop.", rich_help_panel=_OUTPUT)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON.", rich_help_panel=_OUTPUT)
    ] = False,
    log_json: LogJson = False,
) -> None:
    """Evaluate an artifact on a data set: accuracy, PT and IR with intervals and baselines.

    Exit codes: 0 done, 2 nothing could be started, 4 failed or too many failed samples, 130 interrupted (resumable).
    """
    from rate.artifacts.artifact import load_artifact
    from rate.data.storage.objects import url_of
    from rate.engine.make_job import job_from_artifact
    from rate.runs.remote import run_for_writing
    from rate.studies.corruption_grid import folder_of

    corruptions = _corruptions_of(corrupt, severities)
    _check_together(measurement, corruptions, corrupt, afterwards, dry_run)
    if corruptions:
        measurement = replace(measurement, corrupt=next(filter(None, corruptions), None))
    loaded = load_artifact(artifact)
    job = job_from_artifact(loaded, data, split, measurement, execution, reading)
    with run_for_writing(out, [folder_of(one) for one in corruptions]) as folder:
        if corruptions:
            print_grid(_run_grid(loaded, job, folder, corruptions), as_json)
        elif dry_run:
            _dry_run(loaded, job, folder, as_json)
        else:
            _run_and_ask(loaded, job, folder, afterwards, as_json)
            notice(f"next: rate report {url_of(out) or out} --out report.html")


def _check_together(
    measurement: Measurement,
    corruptions: tuple[str | None, ...],
    corrupt: str | None,
    afterwards: Afterwards,
    dry_run: bool,
) -> None:
    """Refuse options that exclude each other.

    Raises:
        ConfigError: names them.
    """
    if corruptions and (dry_run or afterwards.compare_precision or afterwards.faithfulness):
        raise ConfigError(
            "--dry-run, --compare-precision and --faithfulness are of one run, and --corrupt "
            f"{corrupt} asks for {len(corruptions)}; name one, such as --corrupt fog:3"
        )
    if measurement.method.runner is not None and (dry_run or afterwards.compare_precision):
        raise ConfigError(
            f"--saliency {measurement.saliency} has neither --dry-run nor --compare-precision; leave them out"
        )


def _run_and_ask(artifact: Artifact, job: Job, out: Path, afterwards: Afterwards, as_json: bool) -> None:
    """Make one run, ask of it what is to be asked afterwards, and print both."""
    from rate.studies.faithfulness import samples_for

    samples = samples_for(afterwards.faithfulness, job) if afterwards.faithfulness else 0
    refuse_foreign(out)  # before the model is opened
    summary = _run(artifact, job, out)
    if afterwards.compare_precision:
        _compare(artifact, job, out, afterwards.compare_precision)
    faithful = _faithfulness(artifact, job, out, samples) if samples else None
    if as_json:
        print_json(summary.document)
    else:
        print_run(summary, faithful)


@contextmanager
def as_resumable(job: Job, out: Path) -> Iterator[None]:
    """Say what there is to know about a job before it is run, and how to go on after an interruption."""

    for text in job.notices:
        notice(text)
    try:
        yield
    except KeyboardInterrupt:
        notice(f"\ninterrupted; what is done is kept in {out}: run the same command again to go on")
        raise


def _run(artifact: Artifact, job: Job, out: Path) -> Summary:
    from rate.engine.open_runner import open_runner

    return evaluated(job, open_runner(artifact, job, notice), out, "eval")


def evaluated(job: Job, opening: AbstractContextManager[Runner], out: Path, title: str) -> Summary:
    """Evaluate a job with the runner that is opened for it, and show the progress of the work ``title``."""
    from rate.engine.evaluate import evaluate

    with as_resumable(job, out), opening as runner, Steps(title, len(job.samples)) as steps:

        def observe(now: Progress) -> None:
            if now.drawing is not None:
                steps.stage("maps", now.drawing.samples, "images", now.drawing.done)
                return
            pace = f"{now.forwards / now.seconds:.1f} forwards/s" if now.forwards and now.seconds else ""
            steps.show(now.stored + now.done, pace + (f", {now.errors} errors" if now.errors else ""))

        summary = evaluate(job, runner, out, observe)
    for text in summary.notices:
        notice(text)
    return summary


def _compare(artifact: Artifact, job: Job, out: Path, samples: int) -> None:
    from rate.engine.choose_backend import for_reference
    from rate.engine.open_runner import open_runner
    from rate.studies.precision import compare_precision

    exact = replace(job, execution=for_reference(artifact, job.execution))
    with open_runner(artifact, exact) as reference, Steps("f32", min(samples, len(job.samples))) as steps:
        changes = compare_precision(job, reference, out, samples, lambda now: steps.show(now.stored + now.done))
    for flips in changes:
        notice(f"against f32, {flips}")


def _faithfulness(artifact: Artifact, job: Job, out: Path, samples: int) -> FaithfulnessDocument:
    from rate.studies.faithfulness import check_faithfulness

    with Steps("faithfulness", 2 * samples, "maps") as steps:
        return check_faithfulness(artifact, job, out, samples, steps.show)


def _dry_run(artifact: Artifact, job: Job, out: Path, as_json: bool) -> None:
    from rate.engine.choose_backend import open_backend
    from rate.engine.open_runner import divided
    from rate.studies.dry_run import estimate

    with divided(job.execution, notice) as division:
        # This process sees all GPUs, where a worker sees its own alone.
        one = replace(job.execution.in_one_process, threads=division.execution.threads)
        with open_backend(artifact, one, job.measurement.form, notice) as backend:
            cost = estimate(job, backend, division.workers, out)
    if as_json:
        print_json(cost)
        return
    say(f"run key    {cost.key}")
    say(f"samples    {cost.samples} ({cost.stored} stored already)")
    most = "at most " if job.stopping.boundary is not None else ""
    forwards, seconds = f"{most}{cost.forwards:,}", f"{most or 'about '}{_minutes(cost.seconds)}"
    if cost.typical_forwards is not None and cost.typical_seconds is not None:
        forwards = f"about {cost.typical_forwards:,}, as a few samples took, {forwards},"
        seconds = f"about {_minutes(cost.typical_seconds)}, {seconds}"
    say(f"forwards   {forwards} at {cost.forwards_per_s:.1f}/s")
    if cost.tokens_per_forward is not None:
        say(f"tokens     about {cost.tokens_per_forward:,.0f} a forward, those of the picture included")
    say(f"time       {seconds}")
    say(f"disk       about {cost.disk_bytes / 1e6:.1f} MB")


def _minutes(seconds: float) -> str:
    whole, rest = divmod(round(seconds), 60)
    return f"{whole} min {rest} s"


def _corruptions_of(text: str | None, severities: str | None) -> tuple[str | None, ...]:
    """Parse the corruptions of a grid; the result is empty for a single run, that is, TYPE:SEVERITY alone or nothing.

    Raises:
        ConfigError: the corruption is unknown, or there are severities without one.
    """
    if text is None or _is_one(text):
        if severities is not None:
            raise ConfigError(f"--severities {severities}: nothing to choose them for; add --corrupt fog, or all")
        return ()
    from rate.data.images.corrupt import SEVERITIES, parse_grid

    return parse_grid(text, SEVERITIES if severities is None else _severities(severities))


def _run_grid(artifact: Artifact, job: Job, out: Path, corruptions: tuple[str | None, ...]) -> Grid:
    """Evaluate every corruption with one open model, and show the progress.

    Raises:
        TooManyErrors: a run has more errors than are allowed.
    """
    from rate.engine.open_runner import open_runner
    from rate.studies.corruption_grid import evaluate_grid, folder_of

    done = [0] * len(corruptions)
    with (
        as_resumable(job, out),
        open_runner(artifact, job, notice) as runner,
        Steps("eval", len(job.samples) * len(corruptions)) as steps,
    ):

        def observe(number: int, now: Progress) -> None:
            maps = "" if now.drawing is None else f", maps {now.drawing.done}/{now.drawing.samples}"
            done[number] = now.stored + now.done
            steps.show(sum(done), folder_of(corruptions[number]) + maps)

        return evaluate_grid(job, runner, out, corruptions, observe)


def _is_one(text: str) -> bool:
    return "," not in text and ":" in text and not text.startswith("all:")


def _severities(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--severities must be numbers from 1 to 5 with commas between them, got {text!r}") from None
