"""A real `rate eval` that is told to stop, and one whose worker and driver are killed: nothing lost, nothing twice."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from eval_command import arguments
from object_store import ObjectStore
from stored_rows import differences

from rate.cli.main import run
from rate.runs.part_list import read_list
from rate.runs.remote import local_run
from rate.runs.run_document import read_run

FAULTY = Path(__file__).with_name("faulty_eval.py")
WHERE = "the process was to die at this moment and did not"


def begin(command: list[str], **fault: object) -> subprocess.Popen[str]:
    environment = os.environ | {f"FAULT_{name.upper()}": str(value) for name, value in fault.items()}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, FAULTY, *command], env=environment, stdout=pipe, stderr=pipe, text=True)


def wait_for_parts(process: subprocess.Popen[str], out: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "run.json").exists() and len(read_list(out)) >= count:
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
    assert read_run(out).status == "partial"
    assert run(command) == 0
    assert read_run(out).status == "complete"


@pytest.mark.parametrize("moment", [9, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 5, 12))])
def test_workers_and_then_their_driver_are_killed(trained, undisturbed: Path, tmp_path: Path, moment: int) -> None:
    """A worker dies at its n-th moment and is replaced; its driver dies with a part listed; then the run is resumed."""
    out, once = tmp_path / "run", tmp_path / "once"
    once.touch()
    with begin(arguments(trained, out, "--workers", "2"), moment=moment, once=once, part_rows=1) as driver:
        wait_for_parts(driver, out, 1)
        driver.kill()
        driver.communicate(timeout=60)
    assert not once.exists(), WHERE
    assert run(arguments(trained, out)) == 0
    found = differences(undisturbed, out)
    assert not found.any, found


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("/log/", 2),  # the second part is there, and its entry of the log is not
        *(pytest.param(*moment, marks=pytest.mark.slow) for moment in [("/samples/", 1), ("/log/", 8), ("/maps/", 8)]),
        pytest.param("/summary.json", 9, marks=pytest.mark.slow),
    ],
)
def test_a_command_is_killed_while_it_sends_its_run(
    trained, undisturbed: Path, store: ObjectStore, sent: str, stored: int
) -> None:
    """It dies at the first request for such an object after so many parts were stored; the run goes on elsewhere."""
    url, killed = "s3://pictures/runs/one", list[str]()
    begun: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()

    def kill(method: str, path: str) -> tuple[str, str] | None:
        if killed or (method == "PUT" and sent in path and store.count("PUT", "/samples/") >= stored):
            if not killed:
                begun.get(timeout=60).kill()
            killed.append(path)
            return "403 Forbidden", "AccessDenied"
        return None

    store.refuse = kill
    with begin(arguments(trained, Path(url)), part_rows=1) as process:
        begun.put(process)
        _, said = process.communicate(timeout=120)
    assert (process.returncode, len(killed)) == (-signal.SIGKILL, 1), said
    store.refuse = lambda method, path: None
    assert run(arguments(trained, Path(url))) == 0
    found = differences(undisturbed, local_run(url))
    assert not found.any, found
