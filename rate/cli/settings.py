"""The precedence of an option's value: flag > RATE_* environment > --config TOML > default."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import typer

from rate.errors import ConfigError

T = TypeVar("T")


def settings_of(kind: Callable[..., T], context: typer.Context, **made: Any) -> T:
    """Read the settings ``kind`` from the command's options of the same names; ``made`` are fields with converted
    values.

    Every field must exist: a field without an option is a defect of the command.
    """
    given = context.params | made
    return kind(**{name: given[name] for name in signature(kind).parameters})


def apply_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the values of a TOML file the defaults of the command; keys are the option names, with dashes or
    underscores.

    Raises:
        ConfigError: the file cannot be read, or it names an option that the command does not have.
    """
    if path is None:
        return None
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path} is not valid TOML: {error}") from error
    values = {key.replace("-", "_"): value for key, value in content.get(str(context.info_name), content).items()}
    known = {parameter.name for parameter in context.command.params if parameter.name != "config"}
    if unknown := sorted(set(values) - known):
        raise ConfigError(
            f"--config {path} sets {', '.join(unknown)}, which `{context.command_path}` does not have; "
            f"it has {', '.join(sorted(name for name in known if name))}"
        )
    context.default_map = {**(context.default_map or {}), **values}
    return path
