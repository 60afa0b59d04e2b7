"""A gate's decision as Markdown, for the summary of a CI step."""

from __future__ import annotations

import html
from pathlib import Path

from rate.outputs import append_output
from rate.report.gate.checked_values import interval_text, number
from rate.report.gate.decide import Decision
from rate.report.gate.document import HeadIdentity
from rate.report.gate.result import STATES, Result

LIMIT = 900_000
"""The size limit of a summary file, bytes; GitHub drops one above 1024 k completely."""

_SIGNS = {"fail": "❌", "error": "❌", "inconclusive": "❔", "warn": "⚠️", "pass": "✅"}
_VERDICTS = {"passed": "✅ passed", "failed": "❌ failed", "inconclusive": "❔ inconclusive"}
_COLUMNS = ("", "check", "slice or run", "value", "95 % interval", "of", "what it means")
_RESERVE = 200  # for the line with the number of omitted rows


def markdown(decision: Decision, limit: int = LIMIT) -> str:
    """Format verdict, identities and a table of all results, the worst first.

    Rows beyond ``limit`` bytes of UTF-8 are omitted from the end, and counted in a last line.
    """
    lines = [*_heading(decision), "", f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    rows = [_row(result) for result in sorted(decision.results, key=lambda result: STATES.index(result.state))]
    left = limit - _RESERVE - _size(lines)
    shown = 0
    for row in rows:
        left -= _size([row])
        if left < 0:
            break
        shown += 1
    if shown < len(rows):
        rows[shown:] = ["", f"{len(rows) - shown} of {len(rows)} rows are left out: the summary would be too long."]
    return "\n".join([*lines, *rows, "", ""])


def append_markdown(path: Path, decision: Decision) -> None:
    """Append the decision to ``path``, the summary of a CI step; a missing file is made.

    Raises:
        StorageError: it cannot be written.
    """
    there = path.stat().st_size if path.is_file() else 0
    text = markdown(decision, max(0, LIMIT - there))
    append_output(path, (f"\n{text}" if there else text).encode(errors="replace"))


def _heading(decision: Decision) -> list[str]:
    policy = decision.policy
    against = "" if decision.baseline is None else f" against {_named(decision.baseline)}"
    counted = ", ".join(f"{count} {state}" for state, count in decision.counts.items())
    return [
        f"## rate gate: {_VERDICTS[decision.verdict]}",
        "",
        f"run {_named(decision.run)}{against}; policy {cell(policy.source)} `{policy.digest[:12]}`; {counted}",
        *(line for remark in decision.remarks for line in ("", f"**{cell(remark)}**")),
    ]


def _named(identity: HeadIdentity) -> str:
    name, weights, status = (cell(text) for text in (identity.name, identity.weights[:12], identity.status))
    return f"{name} (weights {weights}, {identity.n} samples, {status})"


def _row(result: Result) -> str:
    reading = result.reading
    of = str(reading.denominator) if reading.numerator is None else f"{reading.numerator}/{reading.denominator}"
    value = "undefined" if reading.value is None else number(reading.value)
    cells = (
        f"{_SIGNS[result.state]} {result.state}",
        cell(result.check.name),
        cell(result.place),
        value,
        interval_text(reading),
        of,
        cell(result.why),
    )
    return f"| {' | '.join(cells)} |"


_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]|~#$"} | {"@": "&#64;"})


def cell(text: str) -> str:
    """Escape text for a table cell: one line, without HTML, Markdown or @mentions."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return html.escape(line, quote=False).translate(_SPECIAL)


def _size(lines: list[str]) -> int:
    return sum(len(line.encode(errors="replace")) + 1 for line in lines)
