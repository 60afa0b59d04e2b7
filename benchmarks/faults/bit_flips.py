"""One flipped bit in a file of a finished run: every reader reports it or says what it said before."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from benchmarks.faults import rows
from benchmarks.faults.material import POLICY, Material, copied, evaluation
from benchmarks.faults.outcome import Case, Failure
from benchmarks.faults.process import Ended, rate

READERS = {
    "show": ["show", "run", "--json"],
    "gate": ["gate", "run", "--policy", "gate.toml", "--json"],
    "status": ["status", "run", "--json"],
    "report": ["report", "run", "--out", "report.html"],
}
REPORTED = (2, 4)
EVERY = {"report": 10, "repair": 5}
"""These are slower: on every tenth and every fifth flip."""
FLIPS = {"parts": 2000, "maps": 1400, "run.json": 700, "parts.jsonl": 300, "summary.json": 600}


def said(reader: str, folder: Path) -> tuple[Ended, str]:
    """What a reader says; the text of a report is what it wrote."""
    report = folder / "report.html"
    report.unlink(missing_ok=True)
    ended = rate(READERS[reader], folder)
    return ended, report.read_text(errors="replace") if report.exists() else ended.printed


def flip(path: Path, rng: random.Random) -> str:
    """Flip a bit; says which."""
    data = bytearray(path.read_bytes())
    at, bit = rng.randrange(len(data)), rng.randrange(8)
    data[at] ^= 1 << bit
    path.write_bytes(bytes(data))
    return f"{path.name}, byte {at}, bit {bit}, {bytes(data[max(0, at - 30) : at + 10])!r}"


def target(run: Path, kind: str, rng: random.Random) -> Path:
    """The file to damage."""
    if kind == "parts":
        return rng.choice(sorted((run / "samples").iterdir()))
    return run / "maps" / "maps.parquet" if kind == "maps" else run / kind


def flipped(material: Material, before: dict[str, str], kind: str, number: int, folder: Path) -> str:
    """Flip one bit, and read."""
    work = folder / "work"
    work.mkdir()
    (work / "gate.toml").write_text(POLICY)
    run = copied(material.run, work / "run")
    what = flip(target(run, kind, random.Random(f"{kind}/{number}")), random.Random(number))
    outcomes = {read(reader, work, before, what) for reader in READERS if number % EVERY.get(reader, 1) == 0}
    if number % EVERY["repair"] == 0:
        outcomes.add(repaired(material, work, kind, what))
    return "; ".join(sorted(outcomes - {"unchanged"})) or "unchanged"


def read(reader: str, work: Path, before: dict[str, str], what: str) -> str:
    """One reader: unchanged | reported."""
    try:
        ended, text = said(reader, work)
    except Failure as failure:
        raise Failure(failure.kind, f"{reader}: {what}; {failure.detail}") from failure
    if ended.code in REPORTED:
        if not ended.errors:
            raise Failure("message", f"{reader}: {what}; exit code {ended.code} without a message")
        return "reported"
    if text != before[reader]:
        raise Failure("silent", f"{reader}: {what}; {first_difference(before[reader], text)}")
    return "unchanged"


def first_difference(one: str, other: str) -> str:
    """Around the first character that differs."""
    at = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return f"{one[max(0, at - 30) : at + 20]!r} became {other[max(0, at - 30) : at + 20]!r}"


def repaired(material: Material, work: Path, kind: str, what: str) -> str:
    """`--repair` restores what the run held; a run.json that is another one's by now may be refused."""
    command = evaluation(material.artifact, material.images() / "manifest.csv", "run", "--repair")
    try:
        ended = rate(command, work)
    except Failure as failure:
        raise Failure(failure.kind, f"--repair: {what}; {failure.detail}") from failure
    if ended.code == 2 and kind == "run.json":
        return "repair refused"
    if ended.code:
        raise Failure("not restored", f"--repair: {what}; {ended.code}: {ended.said.strip()[-300:]}")
    try:
        rows.compare(material.run_contents, rows.contents(work / "run"))
    except (Failure, OSError, ValueError) as wrong:
        raise Failure("not restored", f"--repair: {what}; exit code 0, and {wrong}") from wrong
    return "restored"


def cases(material: Material) -> list[Case]:
    """FLIPS of each file, the kinds in turn."""
    work = material.root / "read"
    work.mkdir(parents=True)
    (work / "gate.toml").write_text(POLICY)
    copied(material.run, work / "run")
    before = {reader: said(reader, work)[1] for reader in READERS}
    if said("report", work)[1] != before["report"]:
        raise SystemExit("two reports of one run differ, so that a flipped bit cannot be seen in them")
    shutil.rmtree(work)
    held = material.run_contents["rows"]
    assert {row["valid"] for row in held.values()} >= {True, False}, "verdicts that could change"
    found = [
        Case(f"bit_flips/{kind}/{k}", lambda folder, kind=kind, k=k: flipped(material, before, kind, k, folder))
        for kind, count in FLIPS.items()
        for k in range(count)
    ]
    return sorted(found, key=lambda case: int(case.name.split("/")[2]) / FLIPS[case.category])
