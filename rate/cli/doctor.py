"""`rate doctor`: installed packages, usable hardware, and the consequences."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def doctor(
    artifact: Annotated[
        Path | None, typer.Argument(help="Artifact to try the runtimes on, as `--backend auto` does.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Report what this machine has and what `rate` would use of it."""
    from rate.cli.console import print_json, say
    from rate.doctor import diagnose

    findings = list(diagnose(Path.cwd(), artifact))
    if as_json:
        print_json([asdict(finding) for finding in findings])
        return
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        say(f"{finding.topic:<{width}}  {finding.observed}{'  -> ' + finding.remark if finding.remark else ''}")
