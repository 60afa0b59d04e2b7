"""Settings are checked once, with the value, what was expected, and the cure."""

from __future__ import annotations

import pytest

from rate.config import Measurement
from rate.errors import ConfigError
from rate.execution import Execution


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            Measurement,
            {"saliency": "lime"},
            "must be one of rise, occlusion, rise-tokens, attention; got 'lime'",
        ),
        (Measurement, {"masks": 1}, "masks must be a whole number from 2"),
        (Measurement, {"masks": 10.5}, "masks must be a whole number"),
        (Measurement, {"masks": True}, "masks must be a whole number"),
        (Measurement, {"grid": 1}, "grid must be a whole number from 2"),
        (Measurement, {"keep": 1.0}, "keep must lie strictly between 0 and 1"),
        (Measurement, {"tau": float("nan")}, "tau must lie strictly between 0 and 1"),
        (Measurement, {"seed": -1}, "seed must be a whole number from 0"),
        (Measurement, {"evidence": "minmax"}, "add --valid absolute"),
        (Measurement, {"valid": "best"}, "valid must be one of midpoint, absolute"),
        (Execution, {"batch": -1}, "batch must be a whole number from 0"),
        (Execution, {"backend": "tpu"}, "backend must be one of auto, tensorrt, openvino, onnxruntime"),
        (Execution, {"limit": 0}, "limit must be a whole number from 1"),
        (Execution, {"max_errors": -1.0}, "max-errors must be a share below 1 or a number"),
    ],
)
def test_a_wrong_setting_says_what_was_expected(kind, settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**settings)


def test_only_what_the_method_uses_is_part_of_the_measurement() -> None:
    assert "window" not in Measurement(verdict="map").to_json()
    occlusion = Measurement(saliency="occlusion", masks=5).to_json()
    assert occlusion == Measurement(saliency="occlusion", masks=9, seed=4).to_json()
    assert Measurement(seed=1).to_json() != Measurement(verdict="map").to_json()


@pytest.mark.parametrize(
    ("max_errors", "samples", "allowed"),
    [(0.01, 1000, 10), (0.01, 10, 0), (0, 50, 0), (3, 50, 3), (99, 50, 49), (0.99, 1, 0)],
)
def test_never_may_all_samples_fail(max_errors: float, samples: int, allowed: int) -> None:
    assert Execution(max_errors=max_errors).errors_allowed(samples) == allowed


def test_masks_that_can_show_nothing_are_refused_where_evidence_is_wanted() -> None:
    Measurement(masks=10).check_evidence()
    Measurement(masks=2, keep=0.5).check_evidence()
    with pytest.raises(ConfigError, match="5 shares need at least 10 masks; give more, or one share"):
        Measurement(masks=9).check_evidence()


def test_attention_is_judged_as_in_the_paper_unless_something_else_is_asked_for() -> None:
    papers = Measurement(saliency="attention")
    assert (papers.evidence, papers.valid, papers.rule()["masks"]) == ("minmax", "absolute", "none")
    assert papers.to_json() == Measurement(saliency="attention", masks=7, seed=3, grid=5).to_json()
    other = Measurement(saliency="attention", evidence="positive", valid="midpoint")
    assert (other.evidence, other.valid) == ("positive", "midpoint")
    assert (Measurement(verdict="map").evidence, Measurement(verdict="map").valid) == ("positive", "midpoint")
