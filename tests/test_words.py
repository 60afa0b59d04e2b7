"""Names and docstrings of `rate` use the words of CONTRIBUTING's glossary, not private ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rate

PACKAGE = Path(rate.__file__).parent
NAMES = {"crew", "tally", "found", "surgery", "islands", "seal", "rung", "lane", "course", "weighed", "hire"}
PROSE = (NAMES - {"found"}) | {"somebody", "anybody", "nobody", "whoever", "believed", "work off", "come by"}


def _defined(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Names of functions, classes, parameters and variables, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def _docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_words_stay_out(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = [f"{path}:{line}: {name}" for line, name in _defined(tree) if name.strip("_").lower() in NAMES]
    pattern = re.compile(rf"\b(?:{'|'.join(sorted(PROSE))})\b", re.IGNORECASE)
    said = [f"{path}: {match[0]!r} in {text[:60]!r}" for text in _docstrings(tree) for match in pattern.finditer(text)]
    assert not named + said
