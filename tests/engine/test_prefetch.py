"""Decoding runs ahead, in order, and never further than it may."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from rate.engine.outcome import Outcome
from rate.engine.prefetch import Prefetch
from rate.errors import SampleError
from rate.types import Picture, Prepared, Sample

SAMPLES = [Sample(str(k), "x", f"/{k}", boxes=()) for k in range(20)]


def prepared(sample: Sample) -> Prepared:
    time.sleep(0.001 * (int(sample.id) % 3))
    if sample.id == "7":
        raise SampleError("seven is broken")
    return Prepared(sample, Picture.of_colour(np.zeros(3, np.float32), 2), np.zeros((2, 2), bool))


@pytest.mark.parametrize("threads", [1, 4])
def test_order_is_kept_and_errors_stand_in_their_place(threads: int) -> None:
    with Prefetch(SAMPLES, prepared, threads, ahead=5) as source:
        got = []
        while (item := source.next()) is not None:
            got.append(item)
    assert [one.sample.id for one in got] == [str(k) for k in range(20)]
    assert [one.error for one in got if isinstance(one, Outcome)] == ["seven is broken"]
    assert isinstance(got[7], Outcome)


def test_no_more_than_the_bound_is_started() -> None:
    started, lock = [], threading.Lock()

    def counting(sample: Sample) -> Prepared:
        with lock:
            started.append(sample.id)
        return prepared(sample)

    with Prefetch(SAMPLES, counting, 2, ahead=3) as source:
        time.sleep(0.05)
        assert len(started) == 3
        source.next()
        time.sleep(0.05)
        assert len(started) == 4


@pytest.mark.parametrize(("folder", "io", "at_once"), [("s3://b", 0, 32), ("s3://b", 6, 6), ("", 6, 6), ("", 0, 2)])
def test_remote_objects_are_read_many_at_once(folder: str, io: int, at_once: int) -> None:
    together = threading.Barrier(at_once, timeout=20)
    samples = [replace(sample, image=f"{folder}/{k}") for k in range(4) for sample in SAMPLES][: 2 * at_once]

    def waiting(sample: Sample) -> Prepared:
        together.wait()
        return prepared(replace(sample, id="0"))

    with Prefetch(samples, waiting, 2, ahead=6, io=io) as source:
        while source.next() is not None:
            pass


def test_waiting_is_measured() -> None:
    def slow(sample: Sample) -> Prepared:
        time.sleep(0.05)
        return prepared(sample)

    with Prefetch(SAMPLES[:3], slow, 1, ahead=1) as source:
        while source.next() is not None:
            pass
    assert source.waited_s >= 0.1


def test_a_defect_in_decoding_is_not_mistaken_for_a_bad_sample() -> None:
    def broken(sample: Sample) -> Prepared:
        raise ZeroDivisionError

    with Prefetch(SAMPLES, broken, 1, ahead=1) as source, pytest.raises(ZeroDivisionError):
        source.next()
