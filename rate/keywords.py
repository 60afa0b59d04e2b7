"""Keywords of the Python form of commands: they are the fields of settings, as the options of the commands are."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from rate.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])


def lists_fields(*kinds: type[Any]) -> Callable[[F], F]:
    """Let the signature of a function list the fields of ``kinds``, which are its ``**settings``, for editors.

    A field that the function has as a parameter of its own is that parameter.
    """

    def listed(function: F) -> F:
        own = inspect.signature(function)
        parameters = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
        for field in (field for kind in kinds for field in dataclasses.fields(kind)):
            if field.name in own.parameters:
                continue
            one = inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default)
            parameters.append(one.replace(annotation=field.type))
        function.__dict__["__signature__"] = own.replace(parameters=parameters)
        return function

    return listed


def divided(values: dict[str, Any], *kinds: type[Any]) -> list[Any]:
    """Make one object of each of ``kinds`` from those of ``values`` that are its fields."""
    names = [[field.name for field in dataclasses.fields(kind)] for kind in kinds]
    known = [name for own in names for name in own]
    if unknown := sorted(set(values) - set(known)):
        raise ConfigError(f"unknown setting {', '.join(unknown)}; there are {', '.join(known)}")
    return [
        kind(**{name: value for name, value in values.items() if name in own})
        for kind, own in zip(kinds, names, strict=True)
    ]
