"""Each command that writes, killed at each of its file operations and run again."""

from __future__ import annotations

import signal
from pathlib import Path

from benchmarks.faults.commands import Command, Whole, again, telling, uninterrupted, untouched
from benchmarks.faults.file_operations import Action, Fault
from benchmarks.faults.material import Material, drawn
from benchmarks.faults.outcome import Case, Failure
from benchmarks.faults.process import rate


def killed(command: Command, whole: Whole, at: int, folder: Path) -> str:
    """Kill the command at an operation, then run it again."""
    work = folder / "work"
    command.set_up(work)
    ended = rate(command.arguments, work, Fault(Action.KILL, at))
    untouched(work)
    if ended.code not in (-signal.SIGKILL, 0):
        raise Failure("exit code", f"{ended.code} in place of a kill: {ended.said.strip()[-400:]}")
    try:
        outcome = again(command, work, *whole[:2])
    except Failure as failure:
        raise Failure(failure.kind, f"killed at {whole[2][at - 1]!r}; {failure.detail}") from failure
    return outcome if ended.code else "ended before the kill"


def cases(material: Material) -> list[Case]:
    """A case an operation."""
    found = []
    for command, whole in uninterrupted(material):
        found += [
            Case(f"kills/{command.name}/{at}", lambda folder, c=command, w=whole, at=at: killed(c, w, at, folder))
            for at in telling(whole[2])
        ]
    return drawn(found, "kills")
