"""A field of a settings dataclass says once what its command-line option and its check need to know."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, ClassVar

from rate.errors import ConfigError

_KEY = "option"


@dataclass(frozen=True, slots=True)
class Option:
    """What a field says beside its name, its type and its default."""

    help: str
    choices: Mapping[str, str]  # the values that it may have, each with a remark, which may be empty
    more: Collection[str] = ()  # values that it may have, too, which the help does not show
    within: tuple[int, int | None] | None = None  # bounds of a whole number, both included
    panel: str | None = None  # where the help shows it; None: where the command shows these settings
    parse: Callable[[str], Any] | None = None  # from text; raises ValueError; None: as its type says
    expected: str = ""  # what ``parse`` takes, in words

    def in_words(self) -> str:
        """The help text, with the choices if there are any."""
        choices = " | ".join(f"{name}: {remark}" if remark else name for name, remark in self.choices.items())
        return ": ".join(filter(None, (self.help, choices)))


def option(
    default: Any,
    help: str = "",
    *,
    choices: Mapping[str, str] | Sequence[str] = (),
    more: Collection[str] = (),
    within: tuple[int, int | None] | None = None,
    panel: str | None = None,
    parse: Callable[[str], Any] | None = None,
    expected: str = "",
) -> Any:
    """A field with its default, and with an option; the arguments are explained in `Option`."""
    remarks = choices if isinstance(choices, Mapping) else dict.fromkeys(choices, "")
    return field(default=default, metadata={_KEY: Option(help, remarks, more, within, panel, parse, expected)})


class Settings:
    """A base for frozen dataclasses whose fields are made by `option`."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def check_options(self) -> None:
        """Refuse a value that is none of the choices of its field, or that lies outside its bounds.

        Raises:
            ConfigError: names the setting, the value and what may stand there.
        """
        for name, one in options_of(type(self)).items():
            value, shown = getattr(self, name), name.replace("_", "-")
            if value is None and "None" in str(self.__dataclass_fields__[name].type):
                continue
            if one.choices and value not in tuple(one.choices) and value not in one.more:
                known = list(dict.fromkeys((*one.choices, *one.more)))
                alike = get_close_matches(str(value), known, 1)
                meant = f"; did you mean {alike[0]}?" if alike else ""
                raise ConfigError(f"{shown} must be one of {', '.join(known)}; got {value!r}{meant}")
            if one.within:
                check_range(shown, value, *one.within)


def options_of(kind: type[Settings]) -> dict[str, Option]:
    """The options of a settings dataclass by the names of their fields."""
    return {one.name: one.metadata[_KEY] for one in fields(kind) if _KEY in one.metadata}


def check_range(name: str, value: object, low: int, high: int | None) -> None:
    """Refuse what is no whole number from ``low`` to ``high``, both included.

    Raises:
        ConfigError: names the setting, the value and the bounds.
    """
    number = None if isinstance(value, bool) or not isinstance(value, int) else value
    if number is None or not low <= number <= (number if high is None else high):
        bounds = f"from {low} {'on' if high is None else f'to {high}'}"
        raise ConfigError(f"{name} must be a whole number {bounds}, got {value!r}")


def separated(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """A parser of values with commas between them."""
    return lambda text: tuple(kind(part.strip()) for part in text.split(","))
