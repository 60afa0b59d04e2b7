"""A real `rate eval`, killed at moments spread over its whole run: nothing lost, nothing twice, the same verdicts."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from eval_command import arguments
from fault_figures import note
from stored_rows import differences

from rate.cli.main import run
from rate.runs.store import read_run

FAULTY = Path(__file__).with_name("faulty_eval.py")
WHERE = "the process was to die at this moment and did not"


def begin(command: list[str], **fault: object) -> subprocess.Popen[str]:
    environment = os.environ | {f"FAULT_{name.upper()}": str(value) for name, value in fault.items()}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, FAULTY, *command], env=environment, stdout=pipe, stderr=pipe, text=True)


def finished(command: list[str], **fault: object) -> subprocess.CompletedProcess[str]:
    with begin(command, **fault) as process:
        said, complaint = process.communicate(timeout=120)
    return subprocess.CompletedProcess(command, process.returncode, said, complaint)


@pytest.fixture(scope="module")
def whole(trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An uninterrupted run with a part a sample, and how many moments it has."""
    folder = tmp_path_factory.mktemp("whole")
    done = finished(arguments(trained, folder / "run"), part_rows=1, count=folder / "count")
    assert done.returncode == 0, done.stderr
    return folder / "run", int((folder / "count").read_text())


def spread(moments: int, count: int, seed: int) -> list[int]:
    """One moment out of each of ``count`` equal stretches of the run, the first and the last stretch among them."""
    rng = random.Random(seed)
    return [1 + int((k + rng.random()) * (moments - 1) / count) for k in range(count)]


def killed_and_resumed(trained, whole: tuple[Path, int], out: Path, moments: list[int]) -> None:
    """Killed at every moment in turn, each in a session of its own; then run to its end."""
    folder, kills = whole[0], 0
    for moment in moments:
        done = finished(arguments(trained, out), part_rows=1, moment=moment)
        assert done.returncode == -signal.SIGKILL, (WHERE, moment, done.stderr)
        kills += 1
    assert run(arguments(trained, out)) == 0
    found = differences(folder, out)
    note(kills=kills, lost=found.lost, twice=found.twice, differing_verdicts=found.differing)
    assert read_run(out)["status"] == "complete"
    assert not found.any, (moments, found)
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")], "a killed write was left behind"


@pytest.mark.parametrize("stretch", range(3), ids=["first", "middle", "last"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(trained, whole, tmp_path: Path, stretch: int) -> None:
    killed_and_resumed(trained, whole, tmp_path / "run", [spread(whole[1], 3, seed=7)[stretch]])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_twenty_moments(trained, whole, tmp_path: Path) -> None:
    for number, moment in enumerate(spread(whole[1], 20, seed=11)):
        killed_and_resumed(trained, whole, tmp_path / str(number), [moment])


@pytest.mark.slow
def test_killed_again_and_again_in_one_run(trained, whole, tmp_path: Path) -> None:
    """Each session lives a little longer than a sample takes, so that each but the last dies with work undone."""
    killed_and_resumed(trained, whole, tmp_path / "run", [20, 22, 24, 26, 28])


def wait_for_parts(process: subprocess.Popen[str], out: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "run.json").exists() and len(read_run(out)["parts"]) >= count:
            return
        time.sleep(0.005)
    pytest.fail(f"ended before it had {count} parts: {process.communicate()}")


def test_sigterm_is_ctrl_c(trained, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = arguments(trained, out, "--stride", "20")
    with begin(command, part_rows=1) as process:
        wait_for_parts(process, out, 1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "run the same command again to go on" in said
    assert read_run(out)["status"] == "partial"
    assert run(command) == 0
    assert read_run(out)["status"] == "complete"


@pytest.mark.parametrize("moment", [9, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 5, 12))])
def test_workers_and_then_their_driver_are_killed(trained, whole, tmp_path: Path, moment: int) -> None:
    """A worker dies at its n-th moment and is replaced; its driver dies with a part listed; then the run is resumed."""
    out, once = tmp_path / "run", tmp_path / "once"
    once.touch()
    with begin(arguments(trained, out, "--workers", "2"), moment=moment, once=once, part_rows=1) as driver:
        wait_for_parts(driver, out, 1)
        driver.kill()
        driver.communicate(timeout=60)
    assert not once.exists(), WHERE
    assert run(arguments(trained, out)) == 0
    found = differences(whole[0], out)
    note(kills=2, lost=found.lost, twice=found.twice, differing_verdicts=found.differing)
    assert not found.any, found
