"""`rate gate`: may this model be released?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.errors import RateError, UsageError

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
        bool, typer.Option("--allow-partial", help="Decide on a run that is not complete, and say so.")
    ] = False,
) -> None:
    """Hold a run against a policy.

    Exit codes: 0 passed, 1 failed, 2 nothing was decided (policy, run or baseline cannot be used), 3 inconclusive, 4 a
    result could not be written.
    """
    from rate.cli.console import notice, print_json, results
    from rate.report.gate.decide import decide
    from rate.report.gate.policy import read_policy
    from rate.report.gate.table import gate_table
    from rate.report.heads import load_head

    _require_writable("--junit", junit)
    _require_writable("--markdown", markdown)
    checks = read_policy(policy)
    candidate = load_head(run)
    decision = decide(checks, candidate, load_head(baseline) if baseline else None, allow_partial=allow_partial)
    if as_json:
        for text in decision.remarks:
            notice(text)
        print_json(decision.to_json())
    else:
        results().print(gate_table(decision))
    _write(decision, junit, markdown)
    raise typer.Exit(decision.exit_code)


def _require_writable(option: str, path: Path | None) -> None:
    """Refuse a place that cannot be written before anything is decided; missing folders are made later."""
    if path is None:
        return
    # os.access instead of Path.exists, which raises where a folder on the way may not be entered.
    place = next(there for there in (path.absolute(), *path.absolute().parents) if os.access(there, os.F_OK))
    if place == path.absolute() and place.is_dir():
        raise UsageError(f"{option} {path} is a folder; name a file in it")
    if not os.access(place, os.W_OK) or not (place == path.absolute() or place.is_dir()):
        raise UsageError(f"{option} {path} cannot be written: {place} is no folder that this process may write to")


def _write(decision: Decision, junit: Path | None, markdown: Path | None) -> None:
    from rate.files import write_atomically
    from rate.report.gate.junit import junit as junit_xml
    from rate.report.gate.markdown import append_markdown

    try:
        if junit is not None:
            junit.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(junit, lambda file: file.write(junit_xml(decision)))
        if markdown is not None:
            markdown.parent.mkdir(parents=True, exist_ok=True)
            append_markdown(markdown, decision)
    except OSError as error:
        raise RateError(
            f"the gate is {decision.verdict}, and {error.filename or 'its result'} could not be written: "
            f"{error.strerror}; free the place and run the same command again"
        ) from error
