"""Packages that are functions at once: `rate.export(SOURCE, OUT)` and `rate.report(RUN)`.

A package is an attribute of its parent as soon as a module of it is imported, so that a function of the same name would
hide the package or be hidden by it, depending on what was imported first. The package is therefore callable. For type
checkers and editors the name is the function of `rate.api`, whose signature and documentation a call has.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package as a callable, which the function of its name in `rate.api` implements."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function."""
        return self._function(*arguments, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)

    @property
    def _function(self) -> Any:
        # the module is above the packages in the import order, and is needed only for a call
        return getattr(importlib.import_module("rate.api"), self.__name__.removeprefix("rate."))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the package by name, as a function, so that a function that uses it can be sent to another process."""
        return importlib.import_module, (self.__name__,)


def make_callable(name: str) -> None:
    """Make the package of this name, which is being imported, callable."""
    sys.modules[name].__class__ = CallablePackage
