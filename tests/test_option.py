"""A field's choices and bounds are checked wherever its settings come from."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rate.config import Measurement
from rate.errors import ConfigError
from rate.execution import Execution
from rate.export.options import ExportOptions
from rate.finetune.settings import FlcpSettings, FtSettings, LpSettings
from rate.option import Settings, check_range, option, options_of

KINDS = (Measurement, Execution, ExportOptions, LpSettings, FtSettings, FlcpSettings)
WITH_CHOICES = [(kind, name) for kind in KINDS for name, one in options_of(kind).items() if one.choices]


@dataclass(frozen=True, slots=True)
class Painting(Settings):
    """Settings of which one may be absent although its default is present."""

    colour: str = option("red", "Its colour", choices={"red": "as blood", "green": ""})
    layers: int | None = option(3, within=(1, 9))
    coats: int = option(1, within=(1, None))

    def __post_init__(self) -> None:
        self.check_options()


@pytest.mark.parametrize(("kind", "name"), WITH_CHOICES)
def test_a_value_that_is_no_choice_is_refused_with_the_one_that_is_meant(kind: type[Settings], name: str) -> None:
    choices = list(options_of(kind)[name].choices)
    meant = max(choices, key=len)
    with pytest.raises(ConfigError) as caught:
        kind(**{name: f"{meant}x"})
    said = str(caught.value)
    assert f"{meant}x" in said
    assert ", ".join(choices) in said
    assert said.endswith(f"did you mean {meant}?")


def test_a_value_that_resembles_no_choice_is_guessed_at_by_nobody() -> None:
    with pytest.raises(ConfigError) as caught:
        Painting(colour="xyzzy")
    assert "did you mean" not in str(caught.value)


def test_none_is_a_value_where_the_type_has_it() -> None:
    assert Painting(layers=None).layers is None
    with pytest.raises(ConfigError, match=r"coats .* from 1 on, got None"):
        Painting(coats=None)


@given(st.integers(-5, 15), st.integers(0, 5), st.integers(5, 9))
def test_bounds_are_included(value: int, low: int, high: int) -> None:
    if low <= value <= high:
        check_range("n", value, low, high)
    else:
        with pytest.raises(ConfigError, match=f"{low} to {high}, got {value}"):
            check_range("n", value, low, high)


@pytest.mark.parametrize("value", [True, 2.0, "2"])
def test_a_bounded_number_is_an_int(value: object) -> None:
    with pytest.raises(ConfigError, match="layers"):
        Painting(layers=value)


def test_the_help_has_the_choices_with_their_remarks() -> None:
    assert options_of(Painting)["colour"].in_words() == "Its colour: red: as blood | green"
