"""What is asked about runs: `rate show`, `status`, `merge`, `compare`, `agree` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from rate.cli.console import notice, print_json, results, say
from rate.errors import ConfigError

if TYPE_CHECKING:
    from rate.runs.summary.faithfulness import FaithfulnessDocument
    from rate.runs.summary.summarise import Summary
    from rate.studies.corruption_grid import Grid
    from rate.studies.wise_curve import Curve


Kind: TypeAlias = Literal["wrong", "invalid", "undefined", "errors"]


def show(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN[@HEAD]", help="Run folder of `rate eval`, finished or not, or a folder of such runs."
        ),
    ],
    samples: Annotated[
        Kind | None,
        typer.Option(
            help="List the samples that are predicted wrong, on invalid evidence, without a verdict or failed."
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Of these samples only so many, the worst first; without it by id.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary, or all samples, as JSON.")] = False,
) -> None:
    """Show accuracy, PT and IR of a run, over corruptions and severities, or over the weights between two models."""
    from rate.report.heads import load_named_summary, split_reference
    from rate.runs.summary.faithfulness import read_faithfulness
    from rate.studies.corruption_grid import is_grid, load_grid
    from rate.studies.wise_curve import is_curve, load_curve

    folder, _ = split_reference(run)
    if top is not None and samples is None:
        raise ConfigError("--top is of --samples; add --samples wrong, invalid, undefined or errors")
    if samples is not None:
        print_samples(run, samples, top, as_json)
    elif is_curve(folder):
        print_curve(load_curve(folder), as_json)
    elif is_grid(folder):
        print_grid(load_grid(folder), as_json)
    elif as_json:
        print_json(load_named_summary(run).document)
    else:
        print_run(load_named_summary(run), read_faithfulness(folder))


def print_samples(run: str, kind: Kind, top: int | None, as_json: bool) -> None:
    """Print the samples of one kind of the heads that ``run`` names."""
    from rate.report.heads import load_heads
    from rate.report.tables.samples import listed, samples_table

    samples = listed(load_heads(run), kind, top)
    if as_json:
        print_json(samples)
    else:
        results().print(samples_table(samples))


def print_run(summary: Summary, faithful: FaithfulnessDocument | None) -> None:
    """Print one run's numbers and pace, and the faithfulness of its maps if it was measured."""
    from rate.report.tables.faithfulness import faithfulness_table
    from rate.runs.summary.table import pace, summary_table

    results().print(summary_table(summary))
    results().print(pace(summary))
    if faithful is not None:
        results().print(faithfulness_table(faithful))


def print_grid(grid: Grid, as_json: bool) -> None:
    """Print accuracy, PT and IR over corruptions and severities."""
    from rate.report.tables.grid import grid_table

    if as_json:
        print_json(grid.document)
    else:
        results().print(grid_table(grid))


def print_curve(curve: Curve, as_json: bool) -> None:
    """Print accuracy, PT, IR and what swaps tell over the weights between two models."""
    from rate.report.tables.wise import wise_table

    if as_json:
        print_json(curve.document)
    else:
        results().print(wise_table(curve))


def status(
    run: Annotated[Path, typer.Argument(help="Run folder of `rate eval`, running or not, or a folder of such runs.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show the progress of a run, while it runs or after it stopped, without disturbing it."""
    from rate.runs.remote import local_run
    from rate.runs.status import read_status
    from rate.runs.summary.table import failure_lines
    from rate.studies.corruption_grid import is_grid

    run = local_run(run, rows=False)
    if is_grid(run):
        print_grid_status(run, as_json)
        return
    state = read_status(run)
    if as_json:
        print_json(state)
        return
    share = f" ({state.done / state.planned:.1%})" if state.planned else ""
    say(f"status   {state.status}{'' if state.is_alive else ', no process is at work'}")
    say(f"done     {state.done:,} of {state.planned:,} samples{share}, {state.errors:,} errors")
    for line in failure_lines(state.failures):
        say(line)
    say(f"settled  {', '.join(f'{name} {count:,}' for name, count in state.settled.items()) or 'none yet'}")
    if state.samples_per_s is not None:
        left = "" if state.seconds_left is None else f", {state.seconds_left / 60:.0f} min left"
        say(f"pace     {state.samples_per_s:.2f} samples/s{left}")


def print_grid_status(folder: Path, as_json: bool) -> None:
    """Print how far every run of a grid is."""
    from rate.studies.grids import read_grid_status

    state = read_grid_status(folder)
    if as_json:
        print_json(state)
        return
    say(f"status   {state.status}, {state.complete} of {len(state.runs)} runs complete")
    say(f"done     {state.done:,} of {state.planned:,} samples of these runs, {state.errors:,} errors")
    for run in state.runs:
        if run.status != "complete":
            pace = "" if run.samples_per_s is None else f", {run.samples_per_s:.2f} samples/s"
            say(f"{run.run}  {run.status}, {run.done:,} of {run.planned:,} samples{pace}")


def merge(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, or folders of runs, one of each shard.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Join the runs of the shards of one set (`rate eval --shard 1/8`, ... 8/8) to one run."""
    from rate.runs.merge import left_behind
    from rate.runs.merge import merge as join
    from rate.runs.remote import local_run, run_for_writing
    from rate.studies.corruption_grid import is_grid
    from rate.studies.grids import left_behind_in, merge_grids, names_in

    runs = [local_run(run) for run in runs]
    are_grids = all(map(is_grid, runs))
    with run_for_writing(out, names_in(runs) if are_grids else ()) as folder:
        if are_grids:
            status = print_merged_grid(merge_grids(runs, folder), as_json)
        else:
            status = print_merged(join(runs, folder), as_json)
    for path in left_behind_in(runs) if are_grids else left_behind(runs):
        notice(
            f"{path} is of one shard and is not merged; `rate eval` on the whole set with --out {folder} measures it"
        )
    if status == "partial":
        notice(f"{folder} is partial: the runs are not the whole set yet")


def print_merged(summary: Summary, as_json: bool) -> str:
    """Print the numbers of a merged run; returns its status."""
    from rate.runs.summary.table import summary_table

    if as_json:
        print_json(summary.document)
    else:
        results().print(summary_table(summary))
    return summary.status


def print_merged_grid(grid: Grid, as_json: bool) -> str:
    """Print the numbers of a merged grid; returns its status."""
    print_grid(grid, as_json)
    return grid.status


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN[@HEAD]...", help="The first head is the baseline of all others.")
    ],
    baseline: Annotated[
        str | None, typer.Option(metavar="RUN[@HEAD]", help="Another baseline than the first head.")
    ] = None,
    changed: Annotated[int, typer.Option(min=0, help="How many samples that changed are named.")] = 10,
    ignore_clusters: Annotated[
        bool, typer.Option("--ignore-clusters", help="Resample samples even where the data has clusters.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON, with all samples.")] = False,
) -> None:
    """Compare accuracy, PT and IR of heads over the same samples, with paired intervals.

    A run of several heads stands for all of them: `rate compare RUN` compares the heads of one run.

    Exit codes: 0 done with any result (a threshold is for `rate gate`), 2 runs that cannot be compared.
    """
    from rate.report.compare.compare import compare as compare_heads
    from rate.report.compare.table import comparison_table

    comparison = compare_heads(runs, baseline, by_cluster=not ignore_clusters, changed=None if as_json else changed)
    for text in comparison.notices:
        notice(text)
    if as_json:
        print_json(comparison.document)
    else:
        results().print(comparison_table(comparison, changed))


def agree(
    first: Annotated[str, typer.Argument(metavar="RUN[@HEAD]", help="Such as a run of RISE.")],
    second: Annotated[str, typer.Argument(metavar="RUN[@HEAD]", help="Such as one of --saliency attention.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the agreement as JSON.")] = False,
) -> None:
    """Compare the verdicts of two measurements of one model on one set.

    Exit codes: 0 done with any result, 2 runs of different models or sets.
    """
    from rate.report.compare.agreement import agreement
    from rate.report.compare.table import agreement_table
    from rate.report.heads import load_head

    result = agreement(load_head(first), load_head(second))
    if as_json:
        print_json(result)
    else:
        results().print(agreement_table(result))


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN[@HEAD]...", help="Run folders of `rate eval`, all heads without @HEAD; or one folder of runs."
        ),
    ],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    data: Annotated[
        str | None, typer.Option(help="Manifest or shards to take the pictures from, if the data is remote or moved.")
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(help="FOLDER of files outside the manifest's, as in `rate eval`, if it moved."),
    ] = None,
    max_samples: Annotated[int, typer.Option(help="Samples shown over all heads; 0 = none.")] = 200,
    policy: Annotated[
        Path | None,
        typer.Option(help="TOML file of checks, as of `rate gate`; the first head is the baseline of others."),
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Write the rows beside the page, as CSV, and link to it.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write one HTML file with the numbers, figures and samples of runs. It works offline and loads nothing.

    The first head is compared with each other one, sample by sample. Of a folder of runs over corruptions the page has
    every run, the worst first, and what the worst one changed against clean images.
    """
    from rate.report.gate.policy import read_policy
    from rate.report.html.page import write_named

    checks = None if policy is None else read_policy(policy)
    written = write_named(
        runs,
        out,
        data=data,
        roots=root or (),
        max_samples=max_samples,
        policy=checks,
        rows=rows,
        force=force,
    )
    for text in written.notices:
        notice(f"notice: {text}")
    if as_json:
        print_json(written)
    else:
        say(written.path)
