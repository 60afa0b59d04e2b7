"""Runs the tests in `on_triton`, each kind in the process it needs, and imports the kernels where Triton is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent / "on_triton"
NUMERIC = [str(path) for path in sorted(FOLDER.glob("test_*.py")) if path.stem != "test_triton_compiled"]
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed; it exists for Linux")


def in_a_process(interpret: str, files: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    environment = os.environ | {"TRITON_INTERPRET": interpret}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_triton
def test_the_kernels_equal_their_oracles() -> None:
    """On a GPU where there is one, else in Triton's interpreter."""
    in_a_process("0" if torch.cuda.is_available() else "1", NUMERIC)


@needs_triton
def test_the_kernels_compile() -> None:
    in_a_process("0", [str(FOLDER / "test_triton_compiled.py")])


def test_without_triton_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['triton'] = None; import rate.kernels.triton"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra: triton is needed here" in done.stderr
    assert "pip install 'rate-engine[gpu]'" in done.stderr
