"""`rate eval`: PT and IR of an artifact on a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.cli.grid import corruptions_of, run_grid
from rate.cli.settings import apply_config
from rate.cli.show import print_grid, print_run
from rate.config import Execution, Measurement
from rate.errors import ConfigError
from rate.methods import DEFAULT, METHODS, names_in_words

if TYPE_CHECKING:
    from rate.artifacts.artifact import Artifact
    from rate.engine.job import Job
    from rate.engine.outcome import Runner
    from rate.runs.summary import Summary
    from rate.studies.faithfulness import FaithfulnessDocument

_KEEP = "; ".join(
    f"{','.join(map(str, method.keep))} ({method.name})" for method in METHODS.values() if "keep" in method.settings
)
_MEASURE, _EXECUTE, _OUTPUT = "What is measured", "How it is carried out", "Output"


def _opt(help: str, panel: str, *names: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(*names, help=help, rich_help_panel=panel)
    return option


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder of `rate export`.")],
    data: Annotated[str, typer.Argument(help="Manifest (.csv, .jsonl, .parquet), Parquet with images, or tar shards.")],
    out: Annotated[Path, typer.Option(help="Run folder; an interrupted run resumes in it.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML file with option values.", callback=apply_config, is_eager=True)
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only rows of this split.")] = None,
    limit: Annotated[int | None, _opt("Only the first rows; the run is then partial.", _EXECUTE)] = None,
    saliency: Annotated[str, _opt(names_in_words(), _MEASURE)] = DEFAULT,
    masks: Annotated[
        str | None, _opt("auto: until the verdict is clear (positive evidence) | N an image (1000 else).", _MEASURE)
    ] = None,
    min_masks: Annotated[int, _opt("auto: masks before the first checkpoint of the stopping rule.", _MEASURE)] = 64,
    max_masks: Annotated[int, _opt("auto: masks of an image that never becomes clear.", _MEASURE)] = 2048,
    confidence: Annotated[
        float,
        _opt(
            "auto: share of verdicts that are to be right; calibrated for the usual --min-masks and --max-masks.",
            _MEASURE,
        ),
    ] = 0.99,
    grid: Annotated[int, _opt("Side of the mask's grid (rise).", _MEASURE)] = 7,
    keep: Annotated[str | None, _opt(f"Share of cells kept, or several taken in turn; {_KEEP}.", _MEASURE)] = None,
    cells: Annotated[str, _opt("fixed: that share exactly | independent: the reference RISE", _MEASURE)] = "fixed",
    window: Annotated[int | None, _opt("Side of the window, pixels (occlusion); size / 6.", _MEASURE)] = None,
    stride: Annotated[int | None, _opt("Its step, pixels (occlusion); window / 2.", _MEASURE)] = None,
    evidence: Annotated[
        str, _opt("positive | minmax | raw; auto: positive, and with attention minmax as the paper.", _MEASURE)
    ] = "auto",
    valid: Annotated[
        str, _opt("midpoint | absolute (the paper's rule); auto: midpoint, and with attention absolute.", _MEASURE)
    ] = "auto",
    tau: Annotated[float, _opt("Threshold of the rule.", _MEASURE)] = 0.5,
    explain: Annotated[str, _opt("Class whose score is explained: label | prediction", _MEASURE)] = "label",
    score: Annotated[str, _opt("logit | probability", _MEASURE)] = "logit",
    seed: Annotated[int, _opt("Of the masks.", _MEASURE)] = 0,
    corrupt: Annotated[
        str | None,
        _opt(
            "fog:3: images under that corruption of ImageNet-C, at the model's crop. fog | all:3 | all | clean, or "
            "several with commas: a folder of runs.",
            _MEASURE,
        ),
    ] = None,
    severities: Annotated[str | None, _opt("Of corruptions without one, 1,3,5; all five.", _MEASURE)] = None,
    corrupt_seed: Annotated[int, _opt("Of what is chance in a corruption.", _MEASURE)] = 0,
    backend: Annotated[
        str, _opt("auto | openvino | onnxruntime | torch; on a GPU tensorrt | onnxruntime-cuda | torch-cuda", _EXECUTE)
    ] = "auto",
    precision: Annotated[str, _opt("auto | f32 | fp16 | bf16 | int8", _EXECUTE)] = "auto",
    device: Annotated[
        str, _opt("auto: a GPU if there is one | cpu | cuda | cuda:N | cuda:N,M,..: a worker on each", _EXECUTE)
    ] = "auto",
    batch: Annotated[int, _opt("Rows a forward.", _EXECUTE)] = 32,
    threads: Annotated[int, _opt("Threads of the runtime; 0 = all this process may use.", _EXECUTE)] = 0,
    workers: Annotated[int, _opt("Processes that share the work; 0 = one, or on Ray as many as fit.", _EXECUTE)] = 0,
    runner: Annotated[str, _opt("local | ray | ray://ADDRESS of a cluster", _EXECUTE)] = "local",
    shard: Annotated[str, _opt("NUMBER/OF: only this part of the samples; see `rate merge`.", _EXECUTE)] = "1/1",
    repair: Annotated[
        bool, _opt("Evaluate again what is damaged, missing or failed in the run.", _EXECUTE, "--repair")
    ] = False,
    save_maps: Annotated[str, _opt("Maps kept per head and quadrant: none | K | all", _OUTPUT)] = "50",
    max_errors: Annotated[
        float, _opt("Failed samples allowed: a share below 1, or a number. More: exit code 4.", _EXECUTE)
    ] = 0.01,
    compare_precision: Annotated[
        int, _opt("Afterwards, this many samples once more in f32: what the precision changes.", _EXECUTE)
    ] = 0,
    faithfulness: Annotated[
        float,
        _opt(
            "Afterwards, on this share of the samples (from 1 on: a number): deletion, insertion, pointing game, and "
            "the maps of a model with its weights in random order.",
            _EXECUTE,
        ),
    ] = 0.0,
    dry_run: Annotated[bool, _opt("Estimate the cost, and stop.", _OUTPUT, "--dry-run")] = False,
    as_json: Annotated[bool, _opt("Print the summary as JSON.", _OUTPUT, "--json")] = False,
    log_json: Annotated[bool, _opt("Progress and notices as lines of JSON.", _OUTPUT, "--log-json")] = False,
) -> None:
    """Evaluate an artifact on a data set: accuracy, PT and IR with intervals, beside chance.

    Exit codes: 0 done, 2 nothing could be started, 4 failed or too many failed samples, 130 interrupted (resumable).
    """
    from rate.artifacts.artifact import load_artifact
    from rate.cli.console import log_as_json, notice, print_json
    from rate.engine.job import job_from_artifact
    from rate.engine.open_runner import open_runner
    from rate.studies.faithfulness import samples_for

    log_as_json(log_json)
    corruptions = corruptions_of(corrupt, severities)
    measurement = Measurement(
        saliency=saliency,
        masks=_number_or_word(masks),
        min_masks=min_masks,
        max_masks=max_masks,
        confidence=confidence,
        grid=grid,
        keep=None if keep is None else _shares(keep),
        cells=cells,
        window=window,
        stride=stride,
        evidence=evidence,
        valid=valid,
        tau=tau,
        explain=explain,
        score=score,
        seed=seed,
        corrupt=next(filter(None, corruptions), None) if corruptions else corrupt,
        corrupt_seed=corrupt_seed,
    )
    execution = Execution(
        backend=backend,
        precision=precision,
        batch=batch,
        threads=threads,
        save_maps=_maps(save_maps),
        max_errors=max_errors,
        limit=limit,
        shard=shard,
        repair=repair,
        runner=runner,
        workers=workers,
        device=device,
    )
    loaded = load_artifact(artifact)
    job = job_from_artifact(loaded, data, split, measurement, execution)
    faithfulness_samples = samples_for(faithfulness, job) if faithfulness else 0
    if measurement.method.runner is not None and (dry_run or compare_precision):
        raise ConfigError(f"--saliency {saliency} has neither --dry-run nor --compare-precision; leave them out")
    if corruptions:
        if dry_run or compare_precision or faithfulness_samples:
            raise ConfigError(
                "--dry-run, --compare-precision and --faithfulness are of one run, and --corrupt "
                f"{corrupt} asks for {len(corruptions)}; name one, such as --corrupt fog:3"
            )
        rows = run_grid(loaded, job, out, corruptions)
        print_grid(rows, as_json)
        return
    if dry_run:
        _dry_run(loaded, job, out, as_json)
        return
    with open_runner(loaded, job, notice) as opened:
        summary = _run(job, opened, out)
    if compare_precision:
        _compare(loaded, job, out, compare_precision)
    faithful = _faithfulness(loaded, job, out, faithfulness_samples) if faithfulness_samples else None
    if as_json:
        print_json(summary.document)
    else:
        print_run(summary, faithful)
    notice(f"next: rate report {out} --out report.html")


def _run(job: Job, runner: Runner, out: Path) -> Summary:
    from rate.cli.console import Steps, notice
    from rate.engine.evaluate import Progress, evaluate

    for text in job.notices:
        notice(text)
    with Steps("eval", len(job.samples)) as steps:

        def observe(now: Progress) -> None:
            pace = f"{now.forwards / now.seconds:.1f} forwards/s" if now.seconds else ""
            steps.show(now.stored + now.done, pace + (f", {now.errors} errors" if now.errors else ""))

        try:
            return evaluate(job, runner, out, observe)
        except KeyboardInterrupt:
            notice(f"\ninterrupted; what is done is kept in {out}: run the same command again to go on")
            raise


def _compare(artifact: Artifact, job: Job, out: Path, samples: int) -> None:
    from rate.cli.console import Steps, notice
    from rate.engine.open_runner import open_runner
    from rate.studies.precision import compare_precision

    exact = replace(job, execution=replace(job.execution.in_one_process, backend="auto", precision="f32"))
    with open_runner(artifact, exact) as reference, Steps("f32", min(samples, len(job.samples))) as steps:
        changes = compare_precision(job, reference, out, samples, lambda now: steps.show(now.stored + now.done))
    for flips in changes:
        notice(f"against f32, {flips}")


def _faithfulness(artifact: Artifact, job: Job, out: Path, samples: int) -> FaithfulnessDocument:
    from rate.cli.console import Steps
    from rate.studies.faithfulness import check_faithfulness

    with Steps("faithfulness", 2 * samples, "maps") as steps:
        return check_faithfulness(artifact, job, out, samples, steps.show)


def _dry_run(artifact: Artifact, job: Job, out: Path, as_json: bool) -> None:
    from rate.cli.console import notice, print_json, say
    from rate.engine.choose_backend import open_backend
    from rate.engine.workers.division import divided
    from rate.studies.dry_run import estimate

    with (
        divided(job.execution, notice) as division,
        open_backend(artifact, division.execution, job.measurement.form, notice) as backend,
    ):
        cost = estimate(job, backend, division.workers, out)
    if as_json:
        print_json(cost)
        return
    minutes, seconds = divmod(round(cost.seconds), 60)
    say(f"run key    {cost.key}")
    say(f"samples    {cost.samples} ({cost.stored} stored already)")
    most = "at most " if job.stopping.boundary is not None else ""
    say(f"forwards   {most}{cost.forwards:,} at {cost.forwards_per_s:.1f}/s")
    say(f"time       {most or 'about '}{minutes} min {seconds} s")
    say(f"disk       about {cost.disk_bytes / 1e6:.1f} MB")


def _number_or_word(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--keep must be shares between 0 and 1 with commas between them, got {text!r}") from None


def _maps(text: str) -> int | None:
    if text in ("none", "all"):
        return 0 if text == "none" else None
    if text.isdecimal():
        return int(text)
    raise ConfigError(f"--save-maps must be none, all, or a number a quadrant; got {text!r}")
