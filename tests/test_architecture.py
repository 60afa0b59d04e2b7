"""Imports go one way, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import rate

PACKAGE = Path(rate.__file__).parent
ORDER = [
    ("types", "callable_package", "copies", "credentials", "errors", "version", "files", "machine"),
    ("outputs", "records"),
    ("config", "execution", "judging", "keywords", "methods", "option", "plugins", "reading"),
    ("kernels", "statistics"),
    ("data",),
    ("backends",),
    ("artifacts",),
    # How a checkpoint is opened and its graph written. The verb, which measures what int8 changes, needs the engine.
    ("export", "export.options", "export.sources", "export.graph", "export.precision", "export.tensorrt"),
    ("runs",),
    ("engine",),
    ("studies", "opened", "bench", "doctor", "finetune", "report"),
    ("export.export",),
    ("demo",),
    ("cli", "api", "__init__", "__main__"),
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
TESTS = Path(__file__).parent
OF_NO_ROOM = {("faults",), ("benchmarks",), ("examples",), ("packaging",)}
"""Folders of tests that are about the whole command or about folders beside the package."""
HEAVY = ("torch", "timm", "onnx", "onnxruntime", "openvino", "msgspec", "numpy", "pyarrow", "PIL", "rich.progress")


def level(module: str) -> int:
    """The level of the longest name in ORDER that ``module``, without its leading `rate.`, begins with."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if (name := ".".join(parts[:end])) in LEVEL:
            return LEVEL[name]
    raise AssertionError(f"rate.{module} belongs to no layer")


def imports(path: Path) -> Iterator[str]:
    """Modules of `rate` that a file imports, without the leading `rate.`, wherever the statement stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "rate":
            base = node.module.removeprefix("rate").removeprefix(".")
            modules = [".".join(filter(None, (base, alias.name))) for alias in node.names]
            yield from (module if _is_module(module) else base for module in modules)
        elif isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("rate.") for alias in node.names if alias.name.startswith("rate."))


def _is_module(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    own = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for other in imports(path):
        assert level(other) <= level(own), f"{path} imports rate.{other}, which lies to its right"


def test_the_tests_mirror_the_package() -> None:
    """Each folder of tests has one of the package, and a file named after a module lies in that module's folder."""
    rooms: dict[str, set[Path]] = {}
    for path in PACKAGE.rglob("*.py"):
        rooms.setdefault(path.stem, set()).add(path.parent.relative_to(PACKAGE))
    for path in TESTS.rglob("test_*.py"):
        room = path.parent.relative_to(TESTS)
        if room.parts[:1] not in OF_NO_ROOM:
            assert (PACKAGE / room).is_dir(), f"{path} has no folder of the same name in {PACKAGE}"
            tested = path.stem.removeprefix("test_")
            assert room in rooms.get(tested, {room}), f"{path} tests {tested}.py of {rooms[tested]}"


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


@pytest.mark.parametrize(("arguments", "seconds"), [(["-m", "rate", "--help"], 0.6), (["-c", "import rate"], 0.15)])
def test_help_and_import_are_quick(arguments: list[str], seconds: float) -> None:
    """0.4 s and 0.05 s of a quiet machine with compiled modules; the bounds here only catch a heavy import."""
    times = [_processor_seconds()]
    for _ in range(6):  # a busy machine slows some of them
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        times.append(_processor_seconds())
    assert min(after - before for before, after in pairwise(times)) < seconds


def _processor_seconds() -> float:
    """Of the child processes that have ended: other work on the machine does not lengthen it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
