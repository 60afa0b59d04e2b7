"""An evaluation whose notices nobody reads any more goes on to its end."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("redirected", ["2>&1 >/dev/null | true", "2>&-", ">&- 2>&-"])
def test_a_closed_stderr_does_not_end_an_evaluation(trained, tmp_path: Path, redirected: str) -> None:
    words = [sys.executable, "-m", "rate", "eval", str(trained.artifact), str(trained.manifest), "--out", "run"]
    words += ["--masks", "24", "--batch", "8", "--threads", "1", "--backend", "onnxruntime"]
    script = f"{shlex.join(words)} {redirected}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "complete"
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "no file of a crash"
