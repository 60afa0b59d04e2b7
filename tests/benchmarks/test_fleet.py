"""The simulated fleet: as long as a real one, the sum of its costs on one worker, and never shorter than its owner."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from benchmarks import memory
from benchmarks.fleet import Costs, Simulation, compared

COSTS = Costs(load=10.0, listing=0.0005, read_cpu=0.001, row_cpu=0.002, part_cpu=0.1, end_cpu=0.003)


@pytest.mark.slow
def test_it_takes_as_long_as_a_real_run(tmp_path: Path) -> None:
    memory.write_images(tmp_path)
    assert 1 / 1.5 < compared(tmp_path) < 1.5


def test_one_worker_takes_the_sum_of_the_costs() -> None:
    fleet = Simulation(50, 1, 0.5, COSTS).run()
    # The owner takes rows while the worker evaluates others, all but the last one; a part is written at 30 seconds.
    assert fleet.seconds == pytest.approx(10 + 50 * (0.0005 + 0.001 + 0.5 + 0.003) + 0.002 + 0.1)
    assert fleet.owner_cpu == pytest.approx(50 * (0.001 + 0.002 + 0.003) + fleet.parts * 0.1)
    assert (fleet.done, fleet.sent) == (50, 50)


@pytest.mark.parametrize("workers", [2, 7, 64])
def test_more_workers_take_no_longer_and_no_less_than_their_share(workers: int) -> None:
    one, more = (Simulation(20_000, count, 0.5, COSTS).run() for count in (1, workers))
    assert one.seconds / workers <= more.seconds <= one.seconds
    assert more.done == 20_000


def test_a_fetch_that_is_slower_than_the_device_decides() -> None:
    slow, fast = (Simulation(100, 1, 0.5, Costs(fetch=fetch)).run().seconds for fetch in (0.75, 0.25))
    assert (slow, fast) == (pytest.approx(75), pytest.approx(50))


def test_chunks_of_a_dead_worker_are_done_again() -> None:
    whole = Simulation(50, 1, 0.5, Costs(load=10.0)).run()
    lives = itertools.chain([1.0], itertools.repeat(math.inf))
    again = Simulation(50, 1, 0.5, Costs(load=10.0), lives).run()
    assert (again.done, again.sent, again.deaths) == (50, 50 + 2 * 4, 1)  # the first two chunks, of four samples
    assert again.seconds == pytest.approx(whole.seconds + 1 + 10)


def test_no_fleet_is_faster_than_its_owner() -> None:
    many = Simulation(20_000, 64, 0.01, COSTS).run()
    busy = many.owner_cpu + 20_000 * COSTS.listing
    assert busy <= many.seconds < busy + COSTS.load + 1
