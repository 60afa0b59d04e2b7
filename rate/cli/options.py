"""A command's options are the fields of the settings that it takes; flag > environment > --config > default.

A variable of the environment is named after its option, as `RATE_EVAL_SEED` for `rate eval --seed`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from rich.markup import escape

from rate.errors import ConfigError
from rate.files import read_toml
from rate.option import Option, Settings, options_of

_PREFIX = "RATE_"
_NO_OPTIONS = (
    "RATE_ACCESS_SECONDS",
    "RATE_CACHE",
    "RATE_CACHE_BYTES",
    "RATE_MAX_BYTES",
    "RATE_MAX_PIXELS",
    "RATE_REMOTE_SECONDS",
    "RATE_RAY_SECONDS",
)
"""The variables that `rate.data.storage` and `rate.engine.workers` read."""

_OF_TESTS = ("RATE_TEST_", "RATE_FAULTS_")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Shown:
    """How a command shows the settings that it takes, as in ``Annotated[Measurement, Shown("What is measured")]``."""

    panel: str | None = None
    only: tuple[str, ...] = ()  # fields that are options here; none: all that can be


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """The command with one option for each field in the place of each parameter that takes `Settings`.

    A parameter of the command that has the name of a field stands in the place of that field's option, and fills it.
    """
    own = inspect.signature(command, eval_str=True).parameters
    kinds = {name: _kind(one.annotation) for name, one in own.items()}
    parameters: list[inspect.Parameter] = []
    for name, one in own.items():
        kind = kinds[name]
        parameters += [one.replace(kind=one.KEYWORD_ONLY)] if kind is None else _options(kind, one.annotation, own)

    @wraps(command)
    def filled(**given: Any) -> None:
        made = {
            name: given[name]
            if kind is None
            else kind(**{field.name: given[field.name] for field in fields(kind) if field.name in given})
            for name, kind in kinds.items()
        }
        command(**made)

    whole: Any = filled
    del whole.__wrapped__  # its signature is the other one
    whole.__signature__ = inspect.Signature(parameters)
    whole.__annotations__ = {one.name: one.annotation for one in parameters}
    return filled


def _kind(annotation: Any) -> Any:
    """The settings class of a parameter, or None."""
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def _options(kind: type[Settings], annotation: Any, taken: Any) -> Iterator[inspect.Parameter]:
    shown = next((one for one in get_args(annotation) if isinstance(one, Shown)), Shown())
    hints, defaults = get_type_hints(kind), {field.name: field.default for field in fields(kind)}
    for name, one in options_of(kind).items():
        if name not in taken and (not shown.only or name in shown.only):
            yield _parameter(name, hints[name], defaults[name], one, shown.panel)


def _parameter(name: str, hint: Any, default: Any, one: Option, panel: str | None) -> inspect.Parameter:
    types = [part for part in get_args(hint) if part is not NoneType] if get_origin(hint) is UnionType else [hint]
    flag = f"--{name.replace('_', '-')}"
    if one.parse and default is not None:
        default = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)

    def parsed(text: object) -> Any:
        assert one.parse is not None
        try:
            return one.parse(str(text))
        except ValueError:
            raise ConfigError(f"{flag} must be {one.expected}; got {str(text)!r}") from None

    info = typer.Option(
        *([flag] if default is False else []),
        help=one.in_words(),
        rich_help_panel=one.panel or panel,
        parser=parsed if one.parse else None,
        autocompletion=(lambda incomplete: [choice for choice in one.choices if choice.startswith(incomplete)])
        if one.choices
        else None,
    )
    several = one.parse is None and get_origin(hint) is tuple  # the option may be given several times
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else list(default) if several else default,
        annotation=Annotated[str if one.parse else list[str] if several else types[0], info],
    )


def apply_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the values of a TOML file the defaults of the command; keys are the option names, with dashes or
    underscores.

    Raises:
        ConfigError: the file cannot be read, or it names an option that the command does not have.
    """
    if path is None:
        return None
    content = read_toml(path, "--config")
    values = {key.replace("-", "_"): value for key, value in content.get(str(context.info_name), content).items()}
    known = {parameter.name for parameter in context.command.params if parameter.name != "config"}
    if unknown := sorted(set(values) - known):
        raise ConfigError(
            f"--config {path} sets {', '.join(unknown)}, which `{context.command_path}` does not have; "
            f"it has {', '.join(sorted(name for name in known if name))}"
        )
    context.default_map = {**(context.default_map or {}), **values}
    return path


Config = Annotated[
    Path | None, typer.Option(help="TOML file with option values.", callback=apply_config, is_eager=True)
]
"""The option `--config` of a command."""


def name_variables(command: Any, path: tuple[str, ...] = ("rate",)) -> None:
    """Give every option of every verb its variable.

    The options of `rate` itself and `--help` have none: they end the command with exit code 0 before it does anything,
    so a variable could disable a gate.
    """
    if (below := getattr(command, "commands", None)) is not None:
        for name, one in below.items():
            name_variables(one, (*path, name))
        return
    for option in _flags(command):
        option.envvar = "_".join((*path, option.name)).replace("-", "_").upper()


def with_literal_help(command: Any) -> Any:
    """Return the command, whose help texts are then printed as they are written: rich would take `[x]` for a style."""
    for texts in (command, *command.params):
        texts.help = texts.help and escape(texts.help)
    for one in getattr(command, "commands", {}).values():
        with_literal_help(one)
    return command


def unread(command: Any, environment: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each RATE_ variable of the environment that no option reads."""
    known = sorted({*_NO_OPTIONS, *_variables(command)}, key=lambda name: (len(name), name))
    for name in sorted(environment):
        if not name.startswith(_PREFIX) or name.startswith(_OF_TESTS) or name in known:
            continue
        alike = [other for other in known if other.endswith(name.removeprefix("RATE"))]
        alike = alike or get_close_matches(name, known, _SHOWN)
        meant = f": did you mean {' or '.join(alike[:_SHOWN])}?" if alike else ", such as RATE_EVAL_SEED"
        yield f"{name} is set, and nothing of rate reads it; options are read from RATE_COMMAND_OPTION{meant}"


def _variables(command: Any) -> Iterator[str]:
    for one in getattr(command, "commands", {}).values():
        yield from _variables(one)
    yield from (option.envvar for option in _flags(command) if option.envvar)


def _flags(command: Any) -> Iterator[Any]:
    return (parameter for parameter in command.params if parameter.param_type_name == "option")
