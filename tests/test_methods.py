"""Saliency methods are known by their entries alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rate
from rate.config import Measurement
from rate.errors import ConfigError, UsageError
from rate.methods import METHODS, SaliencyMethod

PACKAGE = Path(rate.__file__).parent
OWN = (PACKAGE / "methods.py", PACKAGE / "kernels")
"""Where a method may be called by its name."""


def test_nobody_else_calls_a_method_by_its_name() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.value!r}"
        for path in PACKAGE.rglob("*.py")
        if not any(path.is_relative_to(own) for own in OWN)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in METHODS
    ]
    assert found == []


@pytest.mark.parametrize("method", METHODS.built_in.values(), ids=METHODS.built_in)
def test_an_entry_says_what_is_measured_and_what_it_needs(method: SaliencyMethod) -> None:
    measurement = Measurement(saliency=method.name)
    described = measurement.to_json()
    assert {"grid", "keep", "cells", "window", "stride", "seed"} & described.keys() <= set(method.settings)
    assert (described["evidence"], described["valid"]) == method.rule
    if method.kernel is None:
        with pytest.raises(UsageError, match=method.name):
            method.masks_of(measurement, 32, 4)
    else:
        masks = method.masks_of(measurement, 32, 4)
        assert masks.name == method.name
        assert len(masks.draw("a", 0, 5)) == 5


def test_a_method_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="lime") as caught:
        Measurement(saliency="lime")
    assert all(name in str(caught.value) for name in METHODS)
