"""Imports go one way, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rate

PACKAGE = Path(rate.__file__).parent
ORDER = [
    ("types", "errors", "version"),
    ("config",),
    ("kernels", "metrics", "paired"),
    ("data",),
    ("backends",),
    ("export",),
    ("engine",),
    ("finetune", "report"),
    ("demo",),
    ("cli", "api", "__init__", "__main__"),
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
HEAVY = ("torch", "timm", "onnx", "onnxruntime", "openvino", "numpy", "pyarrow", "PIL")


def imports(path: Path) -> Iterator[str]:
    """First-level parts of `rate` that a module imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "rate":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("rate."))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LEVEL, f"{path} belongs to no layer"
    for other in imports(path):
        assert LEVEL[other] <= LEVEL[own], f"{path} imports rate.{other}, which lies to its right"


def test_every_module_of_the_package_is_imported_by_name() -> None:
    """No relative imports: the layer test above reads absolute ones."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}:{node.lineno}"


@pytest.mark.parametrize("arguments", [["--help"], ["eval", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from rate.cli.main import run; "
        f"code = run({arguments!r}); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
    assert done.stdout


def test_help_is_quick() -> None:
    """0.3 s on a quiet machine; the bound here only catches a heavy import."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "rate", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    assert min(times) < 1.0
