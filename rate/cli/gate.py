"""`rate gate`: whether runs pass a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.cli.console import notice, print_json, results, say
from rate.errors import StorageError
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
        str | None, typer.Option(metavar="RUN[@HEAD]", help="What max_drop and max_drop_relative are measured against.")
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


def print_decisions(decisions: list[Decision], as_json: bool) -> None:
    """Print decisions of a gate, and the commonest reasons for which samples of their runs failed."""
    from rate.records import record
    from rate.report.gate.document import GatesDocument
    from rate.report.gate.grids import worst
    from rate.report.gate.table import gate_table
    from rate.report.tables.run import failure_lines

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
