"""Options from the environment, such as `RATE_EVAL_SEED` for `rate eval --seed`; unknown variables are reported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

_PREFIX = "RATE_"
_NO_OPTIONS = ("RATE_CACHE", "RATE_CACHE_BYTES", "RATE_MAX_BYTES", "RATE_MAX_PIXELS", "RATE_REMOTE_SECONDS")
"""The variables that `rate.data.storage` reads."""

_OF_TESTS = ("RATE_TEST_", "RATE_FAULTS_")
_SHOWN = 3


def name_variables(command: Any, path: tuple[str, ...] = ("rate",)) -> None:
    """Give every option of every verb its variable.

    The options of `rate` itself and `--help` have none: they end the command with exit code 0 before it does anything,
    so a variable could disable a gate.
    """
    if (below := getattr(command, "commands", None)) is not None:
        for name, one in below.items():
            name_variables(one, (*path, name))
        return
    for option in _options(command):
        option.envvar = "_".join((*path, option.name)).replace("-", "_").upper()


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
    yield from (option.envvar for option in _options(command) if option.envvar)


def _options(command: Any) -> Iterator[Any]:
    return (parameter for parameter in command.params if parameter.param_type_name == "option")
