"""The stages of a step are ranges of a profiler where `nvtx` is installed, and nothing elsewhere."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from function_models import evaluate, job, light

from rate.backends.fake import FakeSpec
from rate.engine import ranges
from rate.engine.ranges import profiled


@pytest.fixture(autouse=True)
def anew():
    ranges.profiled.cache_clear()
    yield
    ranges.profiled.cache_clear()


def test_every_stage_is_a_range(image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[tuple[str, str]] = []

    class Annotate:
        def __init__(self, message: str, domain: str) -> None:
            self.message, self.domain = message, domain

        def __enter__(self) -> None:
            entered.append((self.message, self.domain))

        def __exit__(self, *error: object) -> None:
            assert error == (None, None, None)

    monkeypatch.setitem(sys.modules, "nvtx", types.SimpleNamespace(annotate=Annotate))
    evaluate(job(image_set(3)), FakeSpec(light), tmp_path / "run")
    assert {name for name, _ in entered} == {"admit", "stage", "submit", "wait", "fold"}
    assert {domain for _, domain in entered} == {"rate"}
    stages = [name for name, _ in entered]
    assert stages.count("submit") == stages.count("stage") == stages.count("wait") == stages.count("fold")


def test_without_the_package_it_is_nothing(image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvtx", None)
    evaluate(job(image_set(3)), FakeSpec(light), tmp_path / "run")
    with profiled("fold"), profiled("fold"):
        pass


def test_the_package_has_what_is_used() -> None:
    pytest.importorskip("nvtx", reason="NOT CHECKED: the ranges of nvtx; pip install nvtx checks them")
    for _ in range(3):
        with profiled("fold"), profiled("wait"), profiled("fold"):
            pass
    assert type(profiled("fold")).__module__.startswith("nvtx")
