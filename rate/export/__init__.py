"""Export from a checkpoint to an artifact: the perturbed graph, its weights, and the proof of its logits.

`rate.export` is this package and the function `rate.export(SOURCE, OUT)` at once: a package is an attribute of its
parent as soon as a module of it is imported, so that a function of the same name would hide the package or be hidden by
it, depending on what was imported first. The package is therefore callable. For type checkers and editors `rate.export`
is the function `rate.api.export`, whose signature and documentation a call has.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rate.artifacts.artifact import Artifact


class _CallablePackage(ModuleType):
    """This package as a callable, which `rate.api.export` implements."""

    def __call__(self, source: str, out: str | Path | None = None, **options: Any) -> Artifact:
        """See `rate.api.export`."""
        # the module is above this package in the import order, and is needed only for a call
        api = importlib.import_module("rate.api")
        made: Artifact = api.export(source, out, **options)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the package by name, as a function, so that a function that uses it can be sent to another process."""
        return importlib.import_module, (self.__name__,)


sys.modules[__name__].__class__ = _CallablePackage
