"""The reasons for which samples failed: errors that differ in names and numbers alone are one reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rate.records import Count, Record

SHOWN = 3
"""The number of reasons shown for a head."""

_URL_OR_PATH = re.compile(r"(?:[A-Za-z][\w+.-]*://|[^\s'\"(]*[/\\])[^\s'\",;)]*[^\s'\",;:.)]")
_FILE = re.compile(r"/|\.\w{1,5}$")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+(?:[.,]\d+)*")


class Failure(Record, frozen=True):
    """A reason with its samples."""

    reason: str  # the error without the sample's own names and numbers
    count: Count  # number of samples
    example: str  # first of their ids, in order
    message: str  # whole error of that sample


@dataclass(slots=True)
class FailureCounts:
    """Counts reasons of samples that arrive in any order."""

    _seen: dict[str, tuple[int, str, str]] = field(default_factory=dict)  # reason -> count, example, message

    def take(self, identifier: str, error: str) -> None:
        """Count one failed sample."""
        self.add(Failure(reason_of(identifier, error), 1, identifier, error))

    def add(self, failure: Failure) -> None:
        """Count the samples of one reason."""
        new = failure.example, failure.message
        count, *first = self._seen.get(failure.reason, (0, *new))
        self._seen[failure.reason] = count + failure.count, *min((first[0], first[1]), new)

    def commonest(self, most: int = SHOWN) -> tuple[Failure, ...]:
        """Return the reasons with the most samples, the commonest first."""
        ordered = sorted(self._seen.items(), key=lambda entry: (-entry[1][0], entry[0]))
        return tuple(Failure(reason, *seen) for reason, seen in ordered[:most])


def reason_of(identifier: str, error: str) -> str:
    """Remove from an error what it names: the sample, files, quoted texts, numbers."""
    subject, colon, rest = error.partition(": ")
    if colon and (subject == identifier or _FILE.search(subject)):  # a path may contain blanks and quotes
        error = f"FILE: {rest}"
    for pattern, instead in ((_URL_OR_PATH, "FILE"), (_QUOTED, "'...'"), (_NUMBER, "N")):
        error = pattern.sub(instead, error)
    return error
