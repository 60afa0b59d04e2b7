"""What decides on a release: `rate gate`; the releases before it: `rate history`; what it is given: `rate check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.cli.console import notice, print_json, results, say
from rate.errors import StorageError, UsageError
from rate.outputs import require_output, write_output

if TYPE_CHECKING:
    from rate.report.gate.decide import Decision


def gate(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN[@HEAD]...", help="Runs, or folders of runs, with the head if there are several of them."
        ),
    ],
    policy: Annotated[Path, typer.Option(help="TOML file of checks.")],
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUN[@HEAD]",
            help="What max_drop and max_drop_relative are measured against; also best, last or a name among the runs "
            "beside RUN.",
        ),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help='Append Markdown to this file: "$GITHUB_STEP_SUMMARY".')] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the decision as JSON.")] = False,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Decide on an incomplete run; the decision states that.")
    ] = False,
) -> None:
    """Decide whether runs pass a policy; of several the worst decides.

    Exit codes: 0 passed, 1 failed, 2 nothing was decided (policy, run or baseline cannot be used), 3 inconclusive, 4 a
    result could not be written.
    """
    from rate.report.gate.grids import decide_named, worst
    from rate.report.gate.policy import read_policy

    if junit is not None:
        require_output("--junit", junit)
    if markdown is not None:
        require_output("--markdown", markdown, appended=True)
    checks = read_policy(policy)
    decisions = [decide_named(checks, run, baseline, allow_partial=allow_partial) for run in dict.fromkeys(runs)]
    try:
        _write_decisions(decisions, junit, markdown)
    finally:  # a decision that could not be written is printed nevertheless
        print_decisions(decisions, as_json)
    raise typer.Exit(worst(decisions).exit_code)


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Policies (.toml) and manifests.")],
) -> None:
    """Check policies, and the rows of manifests and that their files are there, without running anything.

    Exit code 2 if one of them cannot be used; every problem of all files is named.
    """
    refused = [file for file in dict.fromkeys(files) if not _is_usable(file)]
    if refused:
        raise UsageError(f"{', '.join(map(str, refused))} cannot be used; the problems are named above")


def _is_usable(file: Path) -> bool:
    from rate.cli.data import check_text, counted
    from rate.data.make.check import check_manifest
    from rate.report.gate.policy import read_policy

    try:
        if file.suffix == ".toml":
            say(f"{file}: {counted(len(read_policy(file).checks), 'check')}")
            return True
        report = check_manifest(file, decode=False)
    except UsageError as error:
        notice(f"error: {error}", level="error")
        return False
    say(check_text(report))
    return not report.errors


def print_decisions(decisions: list[Decision], as_json: bool) -> None:
    """Print decisions of a gate, and the commonest reasons for which samples of their runs failed."""
    from rate.records import record
    from rate.report.gate.document import GatesDocument
    from rate.report.gate.grids import worst
    from rate.report.gate.table import gate_table
    from rate.runs.summary.table import failure_lines

    if not as_json:
        for decision in decisions:
            results().print(gate_table(decision))
            for line in failure_lines(decision.failures):
                say(line)
        return
    for text in dict.fromkeys(text for decision in decisions for text in decision.remarks):
        notice(text)
    if len(decisions) == 1:
        print_json(decisions[0].document)
    else:
        decided, gates = worst(decisions), [decision.document for decision in decisions]
        values = {"verdict": decided.verdict, "exit_code": decided.exit_code, "gates": gates}
        print_json(record(GatesDocument, values))


def history(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN[@HEAD]...", help="Runs in order, or a folder of runs, ordered by time."),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(metavar="best|last|NAME", help="The run that all others are held against, not the one before."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="HTML file to write.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the history as JSON.")] = False,
) -> None:
    """Show accuracy, PT, IR and the gap over releases, with their changes and paired intervals.

    Exit codes: 0 done with any result (a threshold is for `rate gate`), 2 runs that cannot be read.
    """
    from rate.report.history.history import history as history_of
    from rate.report.history.table import history_table

    releases = history_of(runs, baseline)
    if out is not None:
        from rate.report.html.history import write_history

        write_history(releases, out, force=force)
    for text in releases.notices:
        notice(text)
    if as_json:
        print_json(releases.document)
    else:
        results().print(history_table(releases))


def _write_decisions(decisions: list[Decision], junit: Path | None, markdown: Path | None) -> None:
    from rate.report.gate.grids import worst
    from rate.report.gate.junit import junit as junit_xml
    from rate.report.gate.markdown import append_markdown

    try:
        if junit is not None:
            write_output(junit, lambda file: file.write(junit_xml(decisions)))
        if markdown is not None:
            for decision in decisions:
                append_markdown(markdown, decision)
    except StorageError as error:
        raise StorageError(f"the gate is {worst(decisions).verdict}, and {error}") from error
