"""A case, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


class Failure(Exception):
    """What a case found wrong: ``kind`` is counted, ``detail`` is for whoever mends it.

    Kinds: lost, doubled, differs (verdicts), silent, mixed, not restored, foreign (a file that was not rate's), litter,
    exit code, message, crash, memory, time, check (the campaign itself).
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


@dataclass(frozen=True)
class Case:
    """One trial. Its name is campaign/category/what, and says how to make it again."""

    name: str
    check: Callable[[Path], str]  # of an empty folder; returns the harmless outcome, raises Failure
    prepare: Callable[[], object] = field(default=lambda: None)  # makes what many cases share; called again and again

    @property
    def category(self) -> str:
        """The middle of its name."""
        return self.name.split("/")[1]


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    name: str
    category: str
    outcome: str
    failed: bool = False
    detail: str = ""


def tried(case: Case, folder: Path) -> Outcome:
    """Carry out a case in an empty folder."""
    try:
        return Outcome(case.name, case.category, case.check(folder))
    except Failure as failure:
        return Outcome(case.name, case.category, failure.kind, True, failure.detail)
    except Exception as error:  # the campaign is wrong, or meets what it does not expect
        return Outcome(case.name, case.category, "check", True, f"{type(error).__name__}: {error}")
