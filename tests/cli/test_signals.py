"""Signals at any moment, and crashes in places that cannot be written: an exit code and a line, never a traceback."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DURING_IMPORT = """
import os, signal, sys
from rate.__main__ import main

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            try:
                exec("os.kill(os.getpid(), {how})")  # one that leaves an exec ends the interpreter by SIGINT
            except KeyboardInterrupt as error:
                raise {raised}

sys.meta_path.insert(0, Finder())
main()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["typer", "numpy"])
@pytest.mark.parametrize("raised", ["error", "ImportError(name)"])
def test_a_signal_while_a_module_is_imported(
    trained, tmp_path: Path, how: signal.Signals, module: str, raised: str
) -> None:
    """Extension modules make an ImportError or worse of what the handler raises."""
    code = DURING_IMPORT.format(module=module, how=int(how), raised=raised)
    arguments = ["explain", str(trained.artifact), str(trained.manifest.parent / "0.png"), "--out", "x.png"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr.strip()) == (130, "interrupted")
    assert not list(tmp_path.iterdir())


CRASH = """
import os, sys
from rate.__main__ import main
import rate.cli.runs
import rate.runs.summary.summarise
def fails(folder):
    if os.environ.get("NOWHERE"):
        os.rmdir(os.getcwd())
    raise ZeroDivisionError("a defect")
rate.runs.summary.summarise.load_summary = fails
sys.argv = ["rate", "show", "/"]
main()
"""


@pytest.mark.parametrize("place", ["here", "temporary", "nowhere"])
@pytest.mark.parametrize("streams", ["", ">&- 2>&-"])
def test_a_crash_is_exit_code_4_wherever_its_traceback_can_go(tmp_path: Path, place: str, streams: str) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    (tmp_path / "crash.py").write_text(CRASH)
    environment = os.environ | {"TMPDIR": str(temporary)} | ({} if place == "here" else {"NOWHERE": "1"})
    if place == "nowhere":
        (tmp_path / "crash.py").write_text(
            CRASH.replace("os.rmdir(", "import tempfile; tempfile.tempdir = '/proc/x'; os.rmdir(")
        )
    script = f"{shlex.quote(sys.executable)} {tmp_path / 'crash.py'} {streams}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=here, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 4, done.stderr
    kept = [path for path in tmp_path.rglob("rate-crash-*")]
    if place == "nowhere":
        assert not kept
        assert streams or "ZeroDivisionError: a defect" in done.stderr.splitlines()
    else:
        [file] = kept
        assert file.parent.name == place
        assert "Traceback" in file.read_text()
        assert streams or str(file) in done.stderr
