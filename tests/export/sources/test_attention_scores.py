"""Every score that attention explains is the score of the rest of the engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rate.config import Measurement
from rate.export.sources.attention import _score
from rate.kernels.score import score
from rate.option import options_of


@pytest.mark.parametrize("kind", sorted({*options_of(Measurement)["score"].choices} - {"auto"}))
def test_the_score_in_torch_is_that_in_numpy(kind: str) -> None:
    logits, columns = np.random.default_rng(0).normal(size=(6, 4)) * 3, np.arange(6) % 4
    expected = [score(one, column, kind) for one, column in zip(logits, columns, strict=True)]
    found = _score(torch.from_numpy(logits), torch.from_numpy(columns)[:, None], kind)
    np.testing.assert_allclose(found[:, 0].numpy(), expected)
