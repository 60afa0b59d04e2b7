"""The pages under axe-core, which finds what keeps people from reading them: light, dark, and on a telephone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from chromium import CHROMIUM, Browser
from report_runs import Plan, write_run

import rate
from rate.records import read_json, write
from rate.report.gate.policy import read_policy
from rate.report.history.history import history
from rate.report.html.history import write_history
from rate.report.html.page import write_named

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the pages are NOT checked by axe-core")

OTHERS = ("rw", "ww", "rr", "rr", "wr", "undefined")
POLICY = '[[check]]\nmetric = "pt"\nmin = 0.9\n[[check]]\nmetric = "accuracy"\nmin = 0.1\n'


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of every kind, with a gate's decision, an unfinished run and samples that failed."""
    root = tmp_path_factory.mktemp("pages")
    out = {name: root / f"{name}.html" for name in ("single", "compare", "grid", "history")}
    policy = read_policy(_written(root / "gate.toml"))
    one = write_run(root, Plan(count=24, heads=("zs", "lp"), group=True, errors=2), "a")
    other = write_run(root, Plan(count=24, quadrants=OTHERS, errors=2), "b")
    write_named([f"{one}@zs"], out["single"], policy=policy, max_samples=6)
    write_named([f"{one}@zs", str(other)], out["compare"], policy=policy, rows=True, max_samples=12)
    for name, corrupt in (("clean", None), ("fog-3", "fog:3"), ("snow-5", "snow:5")):
        own = {"quadrants": OTHERS} if name == "fog-3" else {}
        measurement = {} if corrupt is None else {"corrupt": corrupt}
        plan = Plan(count=24, heads=("zs", "lp"), measurement=measurement, **own)
        write_run(root, plan, f"grid/{name}")
    rate.report(root / "grid", out=out["grid"], max_samples=8)
    started = read_json(other / "run.json") | {"status": "partial"}
    started.pop("sha256", None)
    write(other / "run.json", started)
    write_history(history([f"{one}@zs", str(other)]), out["history"])
    return out


def _written(path: Path) -> Path:
    path.write_text(POLICY)
    return path


@pytest.fixture(scope="module")
def axe() -> str:
    return (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def emulated(browser: Browser) -> Iterator[Browser]:
    yield browser
    browser.call("Emulation.setEmulatedMedia", features=[])
    browser.call("Emulation.clearDeviceMetricsOverride")


@pytest.mark.parametrize("name", ["single", "compare", "grid", "history"])
def test_axe_finds_nothing(emulated: Browser, pages: dict[str, Path], axe: str, name: str) -> None:
    for theme, width in (("light", 1280), ("dark", 390)):
        emulated.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        emulated.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        emulated.open(pages[name])
        emulated.ask("for (const fold of document.querySelectorAll('details')) fold.open = true")
        emulated.settle()
        emulated.ask(f"{axe};0")
        said = emulated.ask("axe.run().then((found) => JSON.stringify([found.violations, found.passes.length]))")
        violations, passes = json.loads(said)
        assert passes > 15
        assert [(one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["any"][:1]) for one in violations] == []
