"""Triton asks for TRITON_INTERPRET once, when it is imported, so these tests have a process of their own.

`tests/kernels/test_triton.py` starts it; by hand: TRITON_INTERPRET=1 python -m pytest tests/kernels/on_triton. With
TRITON_INTERPRET=0 they run compiled, on the GPU.
"""

from __future__ import annotations

import os

MODE = os.environ.get("TRITON_INTERPRET")
collect_ignore_glob = {"1": ["test_triton_compiled.py"], "0": []}.get(MODE or "", ["test_*.py"])
