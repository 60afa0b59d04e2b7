"""The public API is what `__all__` says, and every name of it is documented."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import subprocess
import sys
import types
from typing import Any

import pytest

import rate
from rate.config import Measurement
from rate.errors import ConfigError
from rate.execution import Execution
from rate.export.options import ExportOptions
from rate.judging import Judging
from rate.keywords import EvaluateKeywords, ExportKeywords, JudgeKeywords
from rate.reading import Reading


def test_all_is_exactly_the_public_names() -> None:
    public = {
        name
        for name, value in vars(rate).items()
        if not name.startswith("_") and (not isinstance(value, types.ModuleType) or callable(value))
    }
    assert public <= set(rate.__all__)
    assert set(dir(rate)) == set(rate.__all__)
    assert all(getattr(rate, name) for name in rate.__all__), "imported when it is first used"
    assert rate.__all__ == sorted(rate.__all__)


@pytest.mark.parametrize("name", [name for name in rate.__all__ if name != "__version__"])
def test_every_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(rate, name))


@pytest.mark.parametrize(
    "imports",
    ["import rate; import rate.export.sources.source_string", "import rate.export.sources.source_string; import rate"],
)
def test_export_is_a_function_and_a_package_whatever_is_imported_first(imports: str) -> None:
    code = (
        f"{imports}\n"
        "print(rate.export.sources.source_string.FAMILIES['onnx'].form)\n"
        "try: rate.export('nothing:here', 'out')\n"
        "except rate.RateError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    form, error = done.stdout.splitlines()
    assert form == "onnx:FILE"
    assert "'nothing:here'" in error


@pytest.mark.parametrize("name", ["export", "report"])
def test_a_package_that_is_a_function_has_the_signature_that_type_checkers_see(name: str) -> None:
    assert inspect.signature(getattr(rate, name)) == inspect.signature(getattr(rate.api, name))


def test_what_is_defined_below_export_and_export_itself_can_be_pickled() -> None:
    options = ExportOptions(size=32)
    assert pickle.loads(pickle.dumps(options)) == options
    assert pickle.loads(pickle.dumps(rate.export)) is rate.export


def test_masks_are_those_of_a_run_and_depend_on_seed_id_and_number_alone() -> None:
    some, one = rate.masks("bird.jpg", 10, 20, seed=3), rate.masks("bird.jpg", 14, 15, seed=3)
    assert (some.grid[4] == one.grid[0]).all()
    assert (some.offset[4] == one.offset[0]).all()
    assert some.grid.shape == (10, 7, 7)


def test_an_unknown_setting_is_named_with_those_that_exist(tmp_path) -> None:
    with pytest.raises(ConfigError, match="unknown setting maks; there are ") as caught:
        rate.evaluate(tmp_path, tmp_path, maks=10)
    for kind in (rate.Measurement, rate.Execution):
        for field in dataclasses.fields(kind):
            assert f" {field.name}" in str(caught.value)


def test_the_signature_of_evaluate_has_every_setting_with_its_default() -> None:
    parameters = inspect.signature(rate.evaluate).parameters
    for kind in (rate.Measurement, rate.Execution):
        for field in dataclasses.fields(kind):
            assert (parameters[field.name].default, parameters[field.name].annotation) == (field.default, field.type)
    assert all(one.kind is not one.VAR_KEYWORD for one in parameters.values())


@pytest.mark.parametrize(
    ("keywords", "kinds"),
    [
        (EvaluateKeywords, (Reading, Measurement, Execution)),
        (JudgeKeywords, (Reading, Judging, Execution)),
        (ExportKeywords, (ExportOptions,)),
    ],
)
def test_type_checkers_see_the_fields_of_the_settings(keywords: Any, kinds: tuple[type, ...]) -> None:
    said = {name: kind.__forward_arg__ for name, kind in keywords.__annotations__.items()}
    fields = {field.name: field.type for kind in kinds for field in dataclasses.fields(kind)}
    if kinds == (ExportOptions,):
        fields = {name: kind for name, kind in fields.items() if name not in ("classes", "templates")}
    assert said == fields
