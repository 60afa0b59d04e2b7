"""Ranges on the timeline of a profiler, if the package `nvtx` is installed; `nsys profile` shows them over the kernels.

Without a profiler a range costs about a microsecond, of which a batch has five; without the package it is nothing.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from functools import cache

DOMAIN = "rate"
"""The domain of the ranges, by which a profiler can select them."""

_NOTHING: AbstractContextManager[object] = nullcontext()


@cache
def profiled(name: str) -> AbstractContextManager[object]:
    """Return the range of a stage, to be entered any number of times by the thread of the engine."""
    try:
        nvtx = importlib.import_module("nvtx")
    except ImportError:
        return _NOTHING
    made: AbstractContextManager[object] = nvtx.annotate(name, domain=DOMAIN)
    return made
