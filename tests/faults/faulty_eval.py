"""`rate`, in a process that is killed at a chosen moment: `python faulty_eval.py eval ...`.

Moments are counted at what could be interrupted: before and after a batch, before a file is synced, before and after
it takes its name, after its folder is synced. FAULT_MOMENT names the one at which the process dies, by SIGKILL; in a
worker when FAULT_ONCE names a file, which the first one to die takes away. FAULT_PART_ROWS closes parts early.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

from rate.__main__ import main
from rate.backends.onnxruntime import OrtBackend
from rate.engine import evaluate as engine

IS_DRIVER = __name__ == "__main__"
MOMENT = int(os.environ.get("FAULT_MOMENT") or 0)
ONCE = os.environ.get("FAULT_ONCE")
PART_ROWS = os.environ.get("FAULT_PART_ROWS")
_seen = 0


def moment() -> None:
    global _seen
    _seen += 1
    if _seen != MOMENT or bool(ONCE) == IS_DRIVER:
        return
    if ONCE:
        try:
            Path(ONCE).unlink()
        except FileNotFoundError:
            return
    os.kill(os.getpid(), signal.SIGKILL)


def around(owner: object, name: str) -> None:
    whole = getattr(owner, name)

    def counted(*arguments: object) -> object:
        moment()
        result = whole(*arguments)
        moment()
        return result

    setattr(owner, name, counted)


around(os, "fsync")
around(Path, "replace")
around(OrtBackend, "_run")

if IS_DRIVER:
    if PART_ROWS:
        engine.evaluate = partial(engine.evaluate, part_rows=int(PART_ROWS))  # before others import it
    main()
