"""Engines that take turns on one backend give the verdicts of engines that have one each."""

from __future__ import annotations

from itertools import cycle

import pytest
from function_models import job, light, open_spec

from rate.backends.fake import FakeSpec
from rate.engine.engine import Engine, InProcess, slots_of
from rate.engine.outcome import Step


def masses(steps: list[Step]) -> dict[str, list[object]]:
    outcomes = [outcome for step in steps for outcome in step.outcomes]
    return {one.sample.id: [(verdict.mass, verdict.settled) for verdict in one.verdicts] for one in outcomes}


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("turns", [(1, 1), (3, 2), (5, 1)])
def test_engines_take_turns_on_one_backend(image_set, depth: int, turns: tuple[int, int]) -> None:
    """Each has its own slots, and leaves the device idle when it pauses."""
    manifest = image_set(6)
    jobs = [job(manifest), job(manifest, masks="auto", min_masks=16, max_masks=100, batch=5)]
    spec = FakeSpec(light, depth)
    with open_spec(spec) as backend:
        expected = [masses(list(InProcess(backend).steps(one, one.samples))) for one in jobs]
    with open_spec(spec) as backend:
        backend.bind(jobs[0].method.perturbation, sum(map(slots_of, jobs)))
        engines = [Engine(jobs[0], backend), Engine(jobs[1], backend, first_slot=slots_of(jobs[0]))]
        found: list[list[Step]] = [[], []]
        open_ends = {0, 1}
        with engines[0].reading(jobs[0].samples) as first, engines[1].reading(jobs[1].samples) as second:
            for k in cycle((0, 1)):
                if not open_ends:
                    break
                for _ in range(turns[k]):
                    if (step := engines[k].step((first, second)[k])) is None:
                        open_ends.discard(k)
                        break
                    found[k].append(step)
                found[k] += engines[k].pause()
                assert not list(engines[k].pause()), "nothing is in flight after a pause"
    assert [masses(steps) for steps in found] == expected
    assert all(len(one) == 6 for one in expected)
