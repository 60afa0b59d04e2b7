"""The wheel is whole: it builds, installs into an empty environment, and the command runs there without a runtime."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import rate

ROOT = Path(rate.__file__).parent.parent


def build_wheel(project: Path, out: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(project)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build_wheel(ROOT, out)
    [built] = out.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_and_the_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "rate").rglob("*.py"):
        assert str(path.relative_to(ROOT)) in names
    assert "rate/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Only the base dependencies: no torch, no runtime; what needs one says which extra brings it."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True, capture_output=True)
    rate_command = tmp_path / "env" / "bin" / "rate"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([rate_command, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert run("--version").stdout.strip() == f"rate {rate.__version__}"
    assert run("schema", "run").returncode == 0
    assert run("doctor").returncode == 0
    missing = run("export", "timm:resnet18", "--out", "artifact")
    assert missing.returncode == 2
    assert "pip install 'rate-engine[" in missing.stderr
    assert not list(tmp_path.glob("rate-crash-*"))

    build_wheel(ROOT / "examples" / "plugin", tmp_path)
    [plugin] = tmp_path.glob("rate_example-*.whl")
    subprocess.run([python, "-m", "pip", "install", "--no-deps", str(plugin)], check=True, capture_output=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "cat-1.jpg")
    Image.new("L", (8, 8), 255).save(tmp_path / "cat-1.png")
    assert run("data", "index", "pairs", ".", "--out", "pairs.csv").stdout.endswith("1 row\nclass    cat: 1\n")
    assert "network of rate-example 1.0 (rate.sources)" in run("doctor").stdout
