"""Looks at fixed numbers of masks, a boundary that falls, an end for what cannot become clear."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rate.config import Measurement
from rate.engine.verdicts.stopping import Stopping, boundary, stopping_for
from rate.kernels.occlusion import Occlusion
from rate.kernels.rise import Rise

RISE = Rise(32, 7, (0.5,), "fixed", 2048, 0)


def test_checkpoints_grow_by_a_half_and_a_third_and_end_at_the_most() -> None:
    stopping = stopping_for(Measurement(min_masks=64, max_masks=500), RISE)
    assert stopping.checkpoints == (64, 96, 128, 192, 256, 384, 500)
    assert (stopping.most, stopping.step) == (500, 32)


def test_a_given_number_of_masks_has_one_checkpoint_and_so_have_windows() -> None:
    assert stopping_for(Measurement(masks=2048), RISE) == Stopping((2048,))
    windows = Occlusion(32, 8, 4)
    assert stopping_for(Measurement(saliency="occlusion"), windows) == Stopping((windows.count,))
    assert Stopping((40,)).settled(40, 0.0) == "fixed"


@given(st.floats(0.97, 0.999), st.floats(0, 20), st.integers(16, 512))
def test_what_is_decided_early_would_be_decided_later_at_that_clearance(
    confidence: float, z: float, first: int
) -> None:
    stopping = stopping_for(Measurement(min_masks=first, max_masks=2048, confidence=confidence), RISE)
    decided = [stopping.settled(masks, z) == "decided" for masks in stopping.checkpoints]
    assert decided == sorted(decided)
    assert decided == [stopping.settled(masks, -z) == "decided" for masks in stopping.checkpoints]


def test_every_sample_ends() -> None:
    stopping = stopping_for(Measurement(verdict="map"), RISE)
    assert stopping.settled(stopping.most, 0.0) == "capped"
    assert stopping.settled(64, 0.0) is None
    assert stopping.settled(64, None) == "decided", "no mask would change that there is no verdict"


def test_sampling_ends_where_going_on_cannot_pay() -> None:
    """The prospect is that of a random walk that goes on from here: simulated."""
    stopping = Stopping((64, 1536, 2048), boundary=1.3)
    walk = np.random.default_rng(0).normal(size=200_000)
    for z in (0.0, 0.4, 1.0):
        last = z * np.sqrt(1536 / 2048) * (2048 / 1536) + walk * np.sqrt(2048 / 1536 - 1)
        assert stopping._prospect(1536, z) == pytest.approx(np.mean(abs(last) >= 1.3), abs=0.005)
    assert stopping.settled(1536, 0.0) == "capped"
    assert stopping.settled(1536, 1.2) is None


def test_more_confidence_is_a_higher_boundary() -> None:
    heights = [boundary(confidence) for confidence in (0.97, 0.98, 0.99, 0.999)]
    assert all(low < high for low, high in itertools.pairwise(heights))
    assert boundary(0.975) == pytest.approx(1.150, abs=0.001)


def test_the_boundary_falls_with_the_fourth_root_of_the_masks() -> None:
    stopping = Stopping((128, 2048), boundary=1.15)
    assert stopping.settled(128, 2.299) is None
    assert stopping.settled(128, -2.301) == "decided"
    assert stopping.settled(2048, 1.149) == "capped"
    assert stopping.settled(2048, 1.151) == "decided"


def test_a_last_checkpoint_close_behind_another_asks_for_no_more_images() -> None:
    assert (
        stopping_for(Measurement(max_masks=1025), RISE).step
        == stopping_for(Measurement(verdict="map"), RISE).step
        == 32
    )
    assert stopping_for(Measurement(min_masks=64, max_masks=64), RISE).step == 64
