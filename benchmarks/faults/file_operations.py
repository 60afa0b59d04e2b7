"""Operations that change files, counted below Python's level, so that those of Arrow and Pillow are among them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
LOADED = "RATE_FAULTS_LIBRARY"
"""Names the library in the environment of a process that has it."""


class Action(IntEnum):
    """What happens at the chosen operation, in the numbers of the C source."""

    COUNT = 0
    KILL = 1  # by SIGKILL before the operation, or in the middle of a write
    STOP = 2  # by SIGSTOP, until the parent lets it go on
    FAIL_ONCE = 3
    FAIL_FROM_THEN_ON = 4  # all but removals, as on a disk that stays full


@dataclass(frozen=True)
class Fault:
    """What is to happen, and at which operation, counted from 1."""

    action: Action
    at: int = 0
    error: int = 0  # errno


def library() -> Path:
    """The compiled library; compiled once for each text of the source."""
    text = SOURCE.read_bytes()
    path = Path(tempfile.gettempdir()) / f"rate-faults-{os.getuid()}-{hashlib.sha256(text).hexdigest()[:16]}.so"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        compiler = ["cc", "-O1", "-shared", "-fPIC", "-o", str(part), str(SOURCE), "-ldl"]
        try:
            subprocess.run(compiler, check=True)
        except FileNotFoundError:
            sys.exit("cc was not found: these campaigns need a C compiler to count file operations")
        part.replace(path)
    return path


def loading(path: Path) -> dict[str, str]:
    """The environment of a process that loads the library."""
    return os.environ | {"LD_PRELOAD": str(path), LOADED: str(path)}


def with_library() -> None:
    """Start this program again with the library loaded, unless it is."""
    if LOADED in os.environ:
        return
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "benchmarks.faults", *sys.argv[1:]]
    os.execve(sys.executable, command, loading(library()) | threads)


def arm(folder: Path, log: Path, fault: Fault) -> None:
    """From now on in this process; every operation adds a line "number name path" to ``log``."""
    loaded = ctypes.CDLL(os.environ[LOADED])
    texts = (os.fsencode(folder), os.fsencode(log))
    loaded.faults_arm(*texts, ctypes.c_long(fault.at), int(fault.action), fault.error)


def operations(log: Path) -> list[str]:
    """What was done, in order: "rename run/run.json"."""
    return [line.split(" ", 1)[1].strip() for line in log.read_text(errors="replace").splitlines()]
