"""Every row exactly once, batches of one size without holes, slots never shared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rate.engine.schedule import Plan, Scheduler, slots_for


def drive(batch: int, slots: int, rows: list[int], depth: int, early: set[int]) -> list[Plan]:
    """Run a scheduler as the pipeline does; samples in ``early`` settle with the first batch that holds them."""
    scheduler, waiting, plans = Scheduler(batch, slots), list(rows), []
    in_flight: list[Plan] = []
    folded: dict[int, int] = {}
    needed: dict[int, int] = {}
    settled: set[int] = set()
    while True:
        while scheduler.wants_more and waiting:
            needed_rows = waiting.pop(0)
            ticket, slot = scheduler.admit(needed_rows)
            needed[ticket] = needed_rows
            assert all(slot != span.slot for plan in in_flight for span in plan.spans), (
                "a slot in flight was given away"
            )
        plan = scheduler.schedule()
        if plan is not None:
            plans.append(plan)
            in_flight.append(plan)
        if not in_flight:
            return plans
        if plan is None or len(in_flight) >= depth:
            oldest = in_flight.pop(0)
            now = []
            for span in oldest.spans:
                folded[span.ticket] = folded.get(span.ticket, 0) + len(span)
                if span.ticket not in settled and (span.ticket in early or folded[span.ticket] == needed[span.ticket]):
                    settled.add(span.ticket)
                    now.append(span.ticket)
            scheduler.folded(oldest, now)


@given(st.integers(1, 16), st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(1, 3))
def test_every_row_is_planned_exactly_once_in_order(batch: int, rows: list[int], depth: int) -> None:
    plans = drive(batch, 4, rows, depth, early=set())
    planned: dict[int, list[int]] = {}
    for plan in plans:
        assert plan.batch == batch
        assert 0 < plan.filled <= batch
        for span in plan.spans:
            planned.setdefault(span.ticket, []).extend(range(span.start, span.stop))
    assert {ticket: list(range(n)) for ticket, n in enumerate(rows)} == planned


@given(st.integers(1, 16), st.integers(1, 40), st.integers(1, 12), st.integers(1, 3))
def test_with_enough_slots_only_the_last_batch_has_holes(batch: int, rows: int, samples: int, depth: int) -> None:
    plans = drive(batch, slots_for(batch, rows, depth), [rows] * samples, depth, early=set())
    assert all(plan.filled == batch for plan in plans[:-1])


@given(st.integers(1, 8), st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 3), st.data())
def test_samples_that_settle_early_leave_no_work_behind(batch: int, rows: list[int], depth: int, data) -> None:
    early = set(data.draw(st.lists(st.integers(0, len(rows) - 1))))
    plans = drive(batch, 3, rows, depth, early)
    assert {span.ticket for plan in plans for span in plan.spans} == set(range(len(rows)))


def test_nothing_to_do_is_no_plan() -> None:
    assert Scheduler(4, 2).schedule() is None
