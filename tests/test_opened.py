"""An artifact that is opened once and evaluated several times."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest

import rate
from rate.errors import ConfigError
from rate.opened import Opened

COMMON = {"backend": "onnxruntime", "threads": 1, "split": "test", "masks": 20, "verdict": "map"}


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every opening of a session of ONNX Runtime by a run."""
    from rate.backends import onnxruntime

    opened: list[str] = []
    real = onnxruntime.open_session

    def counted(path: str, *arguments: object, **options: object) -> object:
        opened.append(path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "open_session", counted)
    return opened


def test_one_model_gives_what_each_evaluation_gives_alone(trained, sessions: list[str], tmp_path: Path) -> None:
    with rate.open(trained.artifact) as opened:
        found = [opened.evaluate(trained.manifest, **COMMON), opened.evaluate(trained.manifest, **COMMON | {"seed": 1})]
        assert len(sessions) == 1
        kept = opened.evaluate(trained.manifest, tmp_path / "run", **COMMON | {"threads": 2})
        assert len(sessions) == 2, "other settings of the runtime load the model again"
    assert kept.heads.keys() == found[0].heads.keys()
    alone = rate.evaluate(trained.artifact, trained.manifest, **COMMON)
    assert [dataclasses.replace(one, run=Path(), throughput=None) for one in (alone,)] == [
        dataclasses.replace(found[0], run=Path(), throughput=None)
    ]
    written = rate.report(tmp_path / "run", out=tmp_path / "r.html", max_samples=0)
    assert written.path.read_text().endswith("</html>")


def test_an_error_leaves_it_usable(trained, sessions: list[str]) -> None:
    with rate.open(trained.artifact) as opened:
        with pytest.raises(ConfigError, match="unknown setting mask"):
            opened.evaluate(trained.manifest, mask=3)

        def stop(now: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            opened.evaluate(trained.manifest, progress=stop, **COMMON)
        assert opened.evaluate(trained.manifest, **COMMON).status == "complete"
    assert len(sessions) == 2


def test_it_takes_the_settings_of_an_evaluation() -> None:
    names = [list(inspect.signature(one).parameters) for one in (Opened.evaluate, rate.evaluate)]
    assert [name for name in names[0] if name != "self"] == [name for name in names[1] if name != "artifact"]


def test_progress_is_shown_on_request(trained, capsys: pytest.CaptureFixture[str]) -> None:
    rate.evaluate(trained.artifact, trained.manifest, progress=True, **COMMON)
    assert "8/8" in capsys.readouterr().err
    rate.evaluate(trained.artifact, trained.manifest, **COMMON)
    assert capsys.readouterr().err == ""
