"""The public API is what `__all__` says, and every name of it is documented."""

from __future__ import annotations

import inspect
import types

import pytest

import rate
from rate.errors import ConfigError


def test_all_is_exactly_the_public_names() -> None:
    public = {
        name
        for name, value in vars(rate).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert set(rate.__all__) == public | {"__version__"}
    assert rate.__all__ == sorted(rate.__all__)


@pytest.mark.parametrize("name", [name for name in rate.__all__ if name != "__version__"])
def test_every_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(rate, name))


def test_export_stays_a_function_after_its_package_is_imported() -> None:
    from rate.artifacts import schemas

    assert schemas.ARTIFACT["title"]
    assert callable(rate.export)


def test_masks_are_those_of_a_run_and_depend_on_seed_id_and_number_alone() -> None:
    some, one = rate.masks("bird.jpg", 10, 20, seed=3), rate.masks("bird.jpg", 14, 15, seed=3)
    assert (some.grid[4] == one.grid[0]).all()
    assert (some.offset[4] == one.offset[0]).all()
    assert some.grid.shape == (10, 7, 7)


def test_an_unknown_setting_is_named_with_those_that_exist(tmp_path) -> None:
    with pytest.raises(ConfigError, match="unknown setting maks; there are saliency, masks"):
        rate.evaluate(tmp_path, tmp_path, maks=10)
