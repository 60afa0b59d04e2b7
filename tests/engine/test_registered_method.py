"""A method that is made and registered here, and nowhere else, is evaluated, shown and reported like any other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from function_models import evaluate, job, light
from plugin_files import forget, install

from rate.backends.fake import FakeSpec
from rate.cli.main import run
from rate.config import Measurement
from rate.engine.workers.base import Setup
from rate.errors import ConfigError, RunError
from rate.kernels.saliency import Bounds, Maps, Masks
from rate.kernels.separable import Perturbation
from rate.methods import SaliencyMethod
from rate.report.heads import incompatibilities, load_head
from rate.report.html.sentences import rule_in_words
from rate.report.schemas import all_schemas
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from rate.types import Bool, Float64


@dataclass(frozen=True)
class Quarters:
    """Shows one quarter of the image at a time: what the score is worth is what that quarter is worth."""

    size: int
    name: str = "quarters"
    count: int = 4
    sampled: bool = False

    @property
    def perturbation(self) -> Perturbation:
        table = np.repeat(np.eye(2, dtype=np.float32), self.size // 2, axis=0)[None]
        return Perturbation("quarters", table, 0.0, 1.0, np.ones((2, 2), np.float32))

    def draw(self, sample_id: str, start: int, stop: int) -> Masks:
        grid = np.eye(4, dtype=np.float32).reshape(4, 2, 2)[start:stop]
        count = stop - start
        return Masks(grid, np.zeros((count, 2), np.int64), np.zeros(count, np.int64))

    def maps(self, clean: Float64, nothing: Float64, scores: Float64, masks: Masks) -> Maps:
        worth = np.stack(
            [values.reshape(2, 2).repeat(self.size // 2, 0).repeat(self.size // 2, 1) for values in scores]
        )
        return Maps(worth - worth.mean(axis=(1, 2), keepdims=True), np.zeros(len(scores)), lambda: worth)

    def bounds(self, region: Bool, ignored: Bool | None = None) -> Bounds:
        return Bounds(ceiling=1.0, floor=0.0)

    def strength(self, scores: Float64, masks: Masks, maps: Maps) -> Float64:
        return np.where(np.ptp(scores, axis=1) > 1e-6, np.inf, -np.inf)

    def standard_error(self, scores: Float64, masks: Masks, maps: Maps, region: Bool) -> None:
        return None

    def clearance(self, scores: Float64, masks: Masks, maps: Maps, region: Bool, threshold: float) -> Float64:
        return np.full(len(scores), np.inf)


def from_settings(measurement: Measurement, size: int, patches: int | None) -> Quarters:
    return Quarters(size)


def only_labels(measurement: Measurement) -> None:
    if measurement.explain != "label":
        raise ConfigError(f"quarters explain the label, got {measurement.explain!r}; leave --explain out")


METHOD = SaliencyMethod(
    name="quarters",
    title="One quarter at a time",
    settings=(),
    kernel=f"{__name__}:from_settings",
    masks="quarters",
    masks_in_words="four quarters",
    check=only_labels,
)


@pytest.fixture(autouse=True)
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Installs a version of the package with the method; 1.0 is."""
    with monkeypatch.context() as patched:

        def installed(version: str) -> None:
            folder = tmp_path / f"packages-{version}"
            install(folder, "of-quarters", version, {"rate.methods": {"quarters": f"{__name__}:METHOD"}})
            patched.syspath_prepend(folder)
            forget()

        installed("1.0")
        yield installed
    forget()


def test_it_is_evaluated_shown_and_reported(image_set, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = image_set(4)
    summary = evaluate(job(manifest, saliency="quarters"), FakeSpec(light), tmp_path / "run")
    described = read_run(tmp_path / "run")
    rows = [row for row in read_rows(tmp_path / "run", described).to_pylist() if row["head"] == "a"]
    assert len(rows) == 4
    for row in rows:  # the head reads the upper left quarter, and the region is that or a little more
        assert row["rma_positive"] == pytest.approx(1.0)
        assert (row["valid"], row["forwards"], row["settled"]) == (True, 5, "fixed")
    assert described.measurement.keys().isdisjoint({"grid", "keep", "masks", "seed", "window"})
    assert described.measurement["plugin"] == "of-quarters 1.0"
    assert described.versions["of-quarters"] == "1.0"
    schemas = all_schemas()
    for name in ("run", "summary"):
        jsonschema.validate(json.loads((tmp_path / "run" / f"{name}.json").read_text()), schemas[name])
    assert "One quarter at a time" in rule_in_words(summary.heads["a"].rule)
    assert "four quarters" in rule_in_words(summary.heads["a"].rule)
    assert run(["show", str(tmp_path / "run")]) == 0
    assert "quarters" in capsys.readouterr().out
    assert run(["report", str(tmp_path / "run"), "--out", str(tmp_path / "report.html")]) == 0
    assert "One quarter at a time" in (tmp_path / "report.html").read_text()


def test_its_own_check_is_asked() -> None:
    with pytest.raises(ConfigError, match="quarters explain the label"):
        Measurement(saliency="quarters", explain="prediction")
    with pytest.raises(ConfigError, match="quarters"):
        Measurement(saliency="eighths")


def test_another_version_of_its_package_is_another_measurement(
    image_set, tmp_path: Path, version: Callable[[str], None]
) -> None:
    manifest = image_set(4)
    evaluate(job(manifest, saliency="quarters"), FakeSpec(light), tmp_path / "run")
    version("1.1")
    with pytest.raises(RunError, match=r"plugin.*of-quarters 1\.0"):
        evaluate(job(manifest, saliency="quarters"), FakeSpec(light), tmp_path / "run")
    evaluate(job(manifest, saliency="quarters"), FakeSpec(light), tmp_path / "other")
    assert any(
        "plugin" in one for one in incompatibilities(load_head(f"{tmp_path}/run@a"), load_head(f"{tmp_path}/other@a"))
    )


def test_workers_say_which_version_they_have() -> None:
    assert Setup.here().versions["of-quarters"] == "1.0"
