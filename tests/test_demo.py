"""The demonstration at its smallest: every step runs, and the words are those of the numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from rate.demo import DemoSettings, Listener, conclusions, run_demo
from rate.errors import UsageError


def test_everything_from_pictures_to_words(tmp_path: Path) -> None:
    said: list[str] = []
    steps: list[tuple[str, int, int]] = []
    settings = DemoSettings(train=64, test=16, epochs=1, fills=4)
    done = run_demo(tmp_path / "demo", settings, Listener(said.append, lambda *step: steps.append(step)))
    assert list(done.agreeing.heads) == ["flcp", "lp"]
    assert {head.kind for head in done.artifact.heads} == {"zero-shot", "linear"}
    assert done.agreeing.status == done.broken.status == "complete"
    assert all(head.rows == 16 and head.counts.errors == 0 for head in done.agreeing.heads.values())
    assert len(said) == 7
    assert {title for title, _, _ in steps} >= {"encoder", "pictures, plain", "eval, test"}
    assert all(path.is_file() for path in done.pictures.values())
    words = " ".join(conclusions(done))
    for head in done.agreeing.heads.values():
        assert f"{100 * (head.accuracy.value or 0):.0f} %" in words
    with pytest.raises(UsageError, match="not an empty folder"):
        run_demo(tmp_path / "demo", settings, Listener())
