"""Each command that writes, on a disk that is full from one of its operations on, or that fails once."""

from __future__ import annotations

import errno
from pathlib import Path

from benchmarks.faults.commands import Command, Whole, again, telling, uninterrupted, untouched
from benchmarks.faults.file_operations import Action, Fault
from benchmarks.faults.material import Material, drawn
from benchmarks.faults.outcome import Case, Failure
from benchmarks.faults.process import rate

FAULTS = {"ENOSPC": (Action.FAIL_FROM_THEN_ON, errno.ENOSPC), "EIO": (Action.FAIL_ONCE, errno.EIO)}
DOCUMENTED = (2, 4)
"""Exit codes of a command whose files cannot be written: before it began, or on its way."""


def failing(command: Command, whole: Whole, name: str, at: int, folder: Path) -> str:
    """Let the disk fail, then run the command again on a good one."""
    work, (action, number) = folder / "work", FAULTS[name]
    command.set_up(work)
    place = f"{name} at {whole[2][at - 1]!r}"
    try:
        ended = rate(command.arguments, work, Fault(action, at, number))
        untouched(work)
        if ended.code and ended.code not in DOCUMENTED:
            raise Failure("exit code", f"{ended.code}: {ended.said.strip()[-400:]}")
        if ended.code and len(ended.errors) != 1:
            raise Failure("message", f"{len(ended.errors)} messages: {ended.said.strip()[-400:]}")
        if name == "ENOSPC" and not ended.code:
            raise Failure("silent", "a full disk and exit code 0")
        outcome = again(command, work, *whole[:2])
    except Failure as failure:
        raise Failure(failure.kind, f"{place}; {failure.detail}") from failure
    return outcome if ended.code else "went on"


def cases(material: Material) -> list[Case]:
    """A case an operation and an error; what only removes files is left out."""
    found = []
    for command, whole in uninterrupted(material):
        places = [at for at in telling(whole[2]) if not whole[2][at - 1].startswith("remove")]
        found += [
            Case(
                f"full_disks/{command.name}-{name}/{at}",
                lambda folder, c=command, w=whole, name=name, at=at: failing(c, w, name, at, folder),
            )
            for at in places
            for name in FAULTS
        ]
    return drawn(found, "full disks")
