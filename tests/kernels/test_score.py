"""Scores against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit

from rate.config import Measurement
from rate.kernels.score import score, softmax
from rate.option import options_of

LOGITS = np.random.default_rng(0).normal(size=(5, 7, 4)) * 5


@pytest.mark.parametrize("column", range(4))
def test_probability_and_log_odds_are_those_of_scipy(column: int) -> None:
    probability = softmax(LOGITS)[..., column]
    np.testing.assert_allclose(score(LOGITS, column, "probability"), probability)
    np.testing.assert_allclose(score(LOGITS, column, "log-odds"), logit(probability), rtol=1e-6)


@pytest.mark.parametrize("kind", sorted({*options_of(Measurement)["score"].choices} - {"auto"}))
def test_only_the_logit_changes_with_a_number_added_to_all(kind: str) -> None:
    same = np.allclose(score(LOGITS, 1, kind), score(LOGITS + 3.0, 1, kind))
    assert same == (kind != "logit")


def test_log_odds_neither_overflow_nor_saturate() -> None:
    logits = np.array([[2000.0, 0.0, -1.0], [-2000.0, 0.0, 0.0]])
    np.testing.assert_allclose(score(logits, 0, "log-odds"), [2000.0 - np.log(1 + np.exp(-1.0)), -2000.0 - np.log(2)])
