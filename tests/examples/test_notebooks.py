"""The notebooks are kept without outputs, and run from their first cell to their last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAID = {
    "1-demo": ["flcp: 60 images", "lp: 60 images", "run@flcp -> run@lp: 60 images", "evidence "],
    "2-your-model": ["epoch 6: accuracy", "native: 60 images, 0 errors", "evidence      not valid"],
    "3-gate": ["gate failed: candidate@native against released@native", "pt min 0.5", "rate gate: ❌ failed"],
    "4-shifts": ["test-broken: accuracy", "gaussian_noise"],
    "5-graded-truth": ["rank correlation", "PT measured"],
}
"""What a reader sees in the outputs of each."""


def test_there_is_a_test_of_each() -> None:
    assert sorted(path.stem for path in ROOT.glob("examples/notebooks/*.ipynb")) == sorted(SAID)


@pytest.mark.parametrize("name", SAID)
def test_no_output_is_kept(name: str) -> None:
    text = (ROOT / "examples" / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text) < 12_000
    for cell in json.loads(text)["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "3-gate" else [pytest.mark.slow]) for name in SAID]
)
def test_it_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    from benchmarks.notebooks import executed, text_of

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other cost more than they bring
    shown = text_of(executed(ROOT / "examples" / "notebooks" / f"{name}.ipynb"))
    assert [said for said in SAID[name] if said not in shown] == []
