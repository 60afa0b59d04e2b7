"""A test run of pytest with the fixture `rate_gate` passes, fails and skips as its gates decide."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

from gate_runs import states, write_run

import rate

ROOT = Path(rate.__file__).parent.parent
PLUGIN = "rate.report.gate.pytest_plugin"
TESTS = """
import rate

def check(bound):
    return [{"metric": "pt", "min": bound}]

def test_passed(rate_gate):
    assert rate_gate("run@ft", check(0.5)).verdict == "passed"

def test_failed(rate_gate):
    rate_gate("run", check(0.99))

def test_inconclusive(rate_gate):
    rate_gate("run", check(0.9))

def test_skipped(rate_gate):
    rate_gate("run", check(0.9), inconclusive="skip")

def test_missing(rate_gate):
    rate_gate("no run", check(0.9))
"""


def test_the_fixture_decides_and_the_summary_says_so(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"ft": states(rr=90, rw=10)})
    write_run(tmp_path / "released", {"ft": states(rr=90, rw=10)})
    (tmp_path / "gate.toml").write_text('[[check]]\nmetric = "ir"\nmax_drop = 0.2\n')
    (tmp_path / "test_model.py").write_text(TESTS)
    [snippet] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "pipelines.md").read_text(), re.DOTALL)
    (tmp_path / "test_guide.py").write_text(snippet)
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", "--junitxml", "all.xml"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "warning" not in done.stdout
    assert "3 failed, 2 passed, 2 skipped" in done.stdout, done.stdout
    summary = done.stdout.split("rate gates ===")[1]
    told = dict(line.split(": ", 1) for line in summary.splitlines() if line.startswith("test_model.py::"))
    assert {name.removeprefix("test_model.py::test_") for name in told} == {
        "passed",
        "failed",
        "inconclusive",
        "skipped",
    }
    assert "failed" in told["test_model.py::test_failed"]
    assert ET.parse(tmp_path / "all.xml").getroot().find("testsuite/testcase/properties") is None, "not in junit-10.xsd"


def test_an_installed_package_brings_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"rate": PLUGIN}
