"""The examples in the docstrings of the mathematics run, and every public function of it has one."""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import pytest

import rate

PACKAGE = Path(rate.__file__).parent
MODULES = [*sorted(PACKAGE.glob("kernels/[!_]*.py")), *sorted(PACKAGE.glob("statistics/[!_]*.py"))]
WITHOUT_EXAMPLE = {"from_settings", "rise_mask", "masks", "perturb", "swap", "sweep", "verdict_noise"}
WITHOUT_EXAMPLE |= {"swap_values"}
BARE_ARRAYS = {"Bool", "Float32", "Float64", "Int64", "UInt8"}


def _name(path: Path) -> str:
    return ".".join(("rate", *path.relative_to(PACKAGE).with_suffix("").parts))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_examples_give_what_they_show(path: Path) -> None:
    assert doctest.testmod(importlib.import_module(_name(path))).failed == 0


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_every_public_function_has_an_example(path: Path) -> None:
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    public = {node.name: ast.get_docstring(node) or "" for node in functions if not node.name.startswith("_")}
    assert {name for name, text in public.items() if ">>>" not in text} <= WITHOUT_EXAMPLE


@pytest.mark.parametrize("path", [*MODULES, PACKAGE / "types.py"], ids=_name)
def test_array_annotations_name_their_axes(path: Path) -> None:
    """Private functions are exempt: some take arrays of any shape."""
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
    annotations = [node.annotation for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)]
    annotations += [argument.annotation for node in functions for argument in node.args.args if argument.annotation]
    annotations += [node.returns for node in functions if node.returns]
    for annotation in annotations:
        names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
        assert "Annotated" in names or not names & BARE_ARRAYS, f"{path}:{annotation.lineno}: {ast.unparse(annotation)}"
