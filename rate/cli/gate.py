"""`rate gate`: the decision on whether a model may be released."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.errors import StorageError

if TYPE_CHECKING:
    from rate.report.gate.decide import Decision


def gate(
    run: Annotated[str, typer.Argument(metavar="RUN[@HEAD]", help="The run, and the head if it has several.")],
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
    """Decide whether a run passes a policy.

    Exit codes: 0 passed, 1 failed, 2 nothing was decided (policy, run or baseline cannot be used), 3 inconclusive, 4 a
    result could not be written.
    """
    from rate.cli.console import notice, print_json, results, say
    from rate.outputs import require_output
    from rate.report.gate.decide import decide
    from rate.report.gate.policy import read_policy
    from rate.report.gate.table import gate_table
    from rate.report.heads import load_head
    from rate.report.tables.run import failure_lines

    if junit is not None:
        require_output("--junit", junit)
    if markdown is not None:
        require_output("--markdown", markdown, appended=True)
    checks = read_policy(policy)
    candidate = load_head(run)
    decision = decide(checks, candidate, load_head(baseline) if baseline else None, allow_partial=allow_partial)
    try:
        _write(decision, junit, markdown)
    finally:  # a decision that could not be written is printed nevertheless
        if as_json:
            for text in decision.remarks:
                notice(text)
            print_json(decision.document)
        else:
            results().print(gate_table(decision))
            for line in failure_lines(candidate.summary.failures):
                say(line)
    raise typer.Exit(decision.exit_code)


def _write(decision: Decision, junit: Path | None, markdown: Path | None) -> None:
    from rate.outputs import write_output
    from rate.report.gate.junit import junit as junit_xml
    from rate.report.gate.markdown import append_markdown

    try:
        if junit is not None:
            write_output(junit, lambda file: file.write(junit_xml(decision)))
        if markdown is not None:
            append_markdown(markdown, decision)
    except StorageError as error:
        raise StorageError(f"the gate is {decision.verdict}, and {error}") from error
