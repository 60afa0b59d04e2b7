"""A `rate` command in a process of its own, forked from this one, which has imported everything already."""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks.faults.file_operations import Fault, arm
from benchmarks.faults.outcome import Failure

LIMIT_S = 60
LIMIT_MB = 4096
PART_ROWS, SORTED_ROWS = 4, 8
"""Rows of a part here, so that a small run has several."""
HEAVY = (
    "pydantic.type_adapter",
    "typer._adapters",
    "imagecorruptions",
    "onnx",
    "onnxruntime",
    "pyarrow.parquet",
    "pyarrow.dataset",
    "torch",
    "scipy.stats",
)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    command: str
    code: int  # negative: the signal
    printed: str
    said: str
    seconds: float
    megabytes: int

    @property
    def errors(self) -> list[str]:
        """Its error messages."""
        return [line for line in self.said.splitlines() if line.startswith(("error:", "Error:"))]


def warm_up() -> None:
    """Import all of `rate` and what it loads late. No model is opened: a fork does not survive a runtime's threads."""
    import rate

    engine = importlib.import_module("rate.engine.evaluate")
    engine.evaluate = partial(engine.evaluate, part_rows=PART_ROWS, sorted_rows=SORTED_ROWS)  # before others import it
    for module in pkgutil.walk_packages(rate.__path__, "rate."):
        if "triton" not in module.name and "__main__" not in module.name:
            _import(module.name)
    for name in HEAVY:
        _import(name)
    Image.init()
    gc.collect()
    gc.freeze()  # so that a child's collector copies no pages


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:  # an extra that is not installed
        return


def rate(
    arguments: list[str],
    folder: Path,
    fault: Fault | None = None,
    stopped: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run `rate ARGUMENTS` inside ``folder``; what it says lies beside the folder, and so does its temporary folder.

    Args:
        arguments: the command line.
        folder: where it works; file operations below are counted.
        fault: what happens at one of them.
        stopped: called while the process stands still, after Action.STOP.
        environment: variables beside those of this process.

    Raises:
        Failure: it crashed, or took more than LIMIT_S seconds or LIMIT_MB megabytes.
    """
    beside = folder.with_name(folder.name + "-process")
    shutil.rmtree(beside, ignore_errors=True)
    (beside / "tmp").mkdir(parents=True)
    sys.stdout.flush()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _become(arguments, folder, beside, fault, environment or {})
    code, usage = _wait(pid, began, stopped)
    texts = [(beside / name).read_text(errors="replace") for name in ("stdout", "stderr")]
    ended = Ended(" ".join(arguments), code, *texts, time.monotonic() - began, usage.ru_maxrss // 1024)
    _within_limits(ended, folder, beside)
    return ended


def _become(
    arguments: list[str], folder: Path, beside: Path, fault: Fault | None, environment: Mapping[str, str]
) -> None:
    """The child: never returns."""
    code = 70
    try:
        os.setsid()
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(beside / name, os.O_CREAT | os.O_WRONLY), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.environ |= {"TMPDIR": str(beside / "tmp"), "COLUMNS": "500", "NO_COLOR": "1", **environment}
        tempfile.tempdir = None
        os.chdir(folder)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + 2 * LIMIT_MB * 2**20,) * 2)  # spares the machine
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from rate.cli.main import run

        if fault:
            arm(folder, beside / "operations", fault)
        code = run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException as error:  # past rate's own handler: reported as a crash
        os.write(2, f"Traceback: {type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(code)


def _wait(pid: int, began: float, stopped: Callable[[], None] | None) -> tuple[int, resource.struct_rusage]:
    pause = 0.001
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG | os.WUNTRACED)
        if done and os.WIFSTOPPED(status):
            if stopped:
                stopped()
            os.kill(pid, signal.SIGCONT)
        elif done:
            break
        elif time.monotonic() - began > LIMIT_S:
            os.killpg(pid, signal.SIGKILL)
            os.wait4(pid, 0)
            raise Failure("time", f"took more than {LIMIT_S} s")
        else:
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # its workers, if it was killed
    return os.waitstatus_to_exitcode(status), usage


def _within_limits(ended: Ended, folder: Path, beside: Path) -> None:
    reports = [*folder.glob("rate-crash-*"), *(beside / "tmp").glob("rate-crash-*")]
    if reports or "defect of rate" in ended.said or "Traceback" in ended.said:
        lines = (reports[0].read_text(errors="replace") if reports else ended.said).strip().splitlines()
        raise Failure("crash", f"{ended.command[:60]}: {_traceback(lines)}")
    if ended.code < 0 and ended.code != -signal.SIGKILL:
        raise Failure("crash", f"{ended.command[:200]}: ended by signal {-ended.code}")
    if ended.megabytes > LIMIT_MB:
        raise Failure("memory", f"{ended.command[:200]}: {ended.megabytes} MB")


def _traceback(lines: list[str]) -> str:
    """The exception of the last traceback, and where it was raised in rate."""
    starts = [k for k, line in enumerate(lines) if line.lstrip().startswith("Traceback")]
    block = lines[starts[-1] + 1 :] if starts else lines
    raised = next((line for line in block if not line.startswith(" ")), lines[-1])
    places = [line.strip() for line in block if "/rate/" in line and line.lstrip().startswith("File")]
    return f"{raised[:200]}; {places[-1] if places else ''}"
