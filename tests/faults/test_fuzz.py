"""Damaged files of every kind that is read: each is reported or harmless, and never a crash or a hang."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from fault_figures import note
from fuzz_targets import Target, targets
from mutations import mutated

from rate.errors import RateError

CASE_S = 20
"""Time of a case before it counts as hanging."""

NAMES = (
    *("jpg", "png", "webp", "manifest.csv", "manifest.jsonl", "manifest.parquet", "tar", "images.parquet"),
    *("coco.json", "checkpoint.json", "artifact.json", "run.json", "part"),
)
SHORT, LONG = 12, 80


class Hang(BaseException):
    """A case took too long."""


@contextmanager
def alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, CASE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(target: Target, folder: Path) -> str:
    """reported | harmless | what went wrong."""
    try:
        with alarm():
            return target.use(folder)
    except RateError as error:
        return "reported" if str(error) else "a RateError without a message"
    except Hang:
        return "hang"
    except Exception as error:
        return f"crash: {type(error).__name__}: {error}"


def fuzz(target: Target, folder: Path, seeds: range) -> dict[int, str]:
    """Seed -> outcome; the file is as it was afterwards."""
    whole = target.path.read_bytes()
    found = {}
    try:
        for seed in seeds:
            target.path.write_bytes(mutated(whole, seed))
            found[seed] = outcome(target, folder)
    finally:
        target.path.write_bytes(whole)
    return found


@pytest.fixture
def target(request: pytest.FixtureRequest, trained, tmp_path: Path) -> Target:
    return targets(tmp_path, trained.artifact, trained.checkpoint)[request.param]()


def check(target: Target, folder: Path, seeds: range) -> None:
    assert target.use(folder) == "harmless", "as it is, it is to be used"
    found = fuzz(target, folder, seeds)
    counts = Counter(found.values())
    wrong = {seed: said for seed, said in found.items() if said not in ("reported", "harmless")}
    hangs = counts["hang"]
    note(fuzz_cases=len(found), crashes=len(wrong) - hangs, hangs=hangs)
    note(reported=counts["reported"], harmless=counts["harmless"])
    assert not wrong, wrong
    assert counts["reported"], "no damage was noticed"
    assert target.use(folder) == "harmless", "whole again, it is used again"


@pytest.mark.parametrize("target", NAMES, indirect=True)
def test_damage_is_reported_or_harmless(target: Target, tmp_path: Path) -> None:
    check(target, tmp_path, range(SHORT))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("target", NAMES, indirect=True)
def test_much_damage_is_reported_or_harmless(target: Target, tmp_path: Path) -> None:
    check(target, tmp_path, range(SHORT, LONG))
