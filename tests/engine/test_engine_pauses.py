"""Engines that take turns on one backend give the verdicts of engines that have one each."""

from __future__ import annotations

import time
from contextlib import ExitStack
from itertools import accumulate

import pytest
from function_models import job, light, open_spec

from rate.backends.fake import FakeSpec
from rate.engine.engine import Engine, InProcess, slots_of
from rate.engine.outcome import Step

Verdicts = dict[str, list[tuple[object, ...]]]


def verdicts(steps: list[Step]) -> Verdicts:
    outcomes = [outcome for step in steps for outcome in step.outcomes]
    return {
        one.sample.id: [
            (verdict.valid, verdict.forwards, verdict.settled, verdict.map and verdict.map.mass, verdict.swap)
            for verdict in one.verdicts
        ]
        for one in outcomes
    }


def test_the_pictures_of_a_bank_let_no_more_images_be_read_ahead(image_set) -> None:
    one = job(image_set(80), verdict="swap", batch=8)
    images, read = slots_of(one) - one.fills, []
    with open_spec(FakeSpec(light)) as backend:
        backend.bind(one.perturbation, slots_of(one))
        with Engine(one, backend).reading(one.samples, lambda sample: read.append(sample.id) or one.decode(sample)):
            deadline = time.monotonic() + 30
            while len(read) < 2 * images and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.2)
            assert len(read) == 2 * images < len(one.samples)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("turns", [(1, 1, 1), (3, 2, 1), (5, 1, 2)])
def test_engines_take_turns_on_one_backend(image_set, depth: int, turns: tuple[int, ...]) -> None:
    """Each has its own slots, also for what stands where pixels are hidden, and leaves the device idle."""
    manifest = image_set(16)
    adaptive = {"masks": "auto", "min_masks": 16, "max_masks": 100}
    jobs = [job(manifest, grid=7), job(manifest, grid=7, batch=5, **adaptive), job(manifest, verdict="swap", batch=7)]
    spec = FakeSpec(light, depth)
    with open_spec(spec) as backend:
        expected = [verdicts(list(InProcess(backend).steps(one, one.samples))) for one in jobs]
    found: list[list[Step]] = [[] for _ in jobs]
    with open_spec(spec) as backend, ExitStack() as stack:
        firsts = list(accumulate(map(slots_of, jobs), initial=0))
        backend.bind(jobs[0].perturbation, firsts[-1])
        engines = [Engine(one, backend, first) for one, first in zip(jobs, firsts, strict=False)]
        sources = [stack.enter_context(engine.reading(one.samples)) for engine, one in zip(engines, jobs, strict=True)]
        going = set(range(len(jobs)))
        while going:
            for k in sorted(going):
                for _ in range(turns[k]):
                    if (step := engines[k].step(sources[k])) is None:
                        going.discard(k)
                        break
                    found[k].append(step)
                found[k] += engines[k].pause()
                assert not list(engines[k].pause()), "nothing is in flight after a pause"
    assert [verdicts(steps) for steps in found] == expected
    assert all(len(one) == 16 for one in expected)
