"""Every row exactly once, batches of one size without holes, slots never shared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rate.engine.schedule import BatchPlan, Scheduler, slots_for


def drive(batch: int, slots: int, rows: list[int], depth: int, early: set[int]) -> list[BatchPlan]:
    """Run a scheduler as the pipeline does; samples in ``early`` settle with the first batch that holds them."""
    scheduler, waiting, plans = Scheduler(batch, slots), list(rows), []
    in_flight: list[BatchPlan] = []
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
    for ticket in early:
        holding = [number for number, plan in enumerate(plans) if any(span.ticket == ticket for span in plan.spans)]
        assert holding[-1] < holding[0] + depth, "rows were planned after the batch that settled their sample"


@given(
    st.integers(1, 16),
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20), st.integers(0, 40)), min_size=1, max_size=12),
)
def test_rows_are_planned_ahead_only_into_room_that_wanted_rows_leave(
    batch: int, depth: int, samples: list[tuple[int, int, int]]
) -> None:
    """Samples want some rows, then some more, and could have wanted more still."""
    scheduler, waiting, in_flight = Scheduler(batch, 4), list(samples), []
    wanted: dict[int, int] = {}
    finally_wanted: dict[int, int] = {}
    planned: dict[int, int] = {}
    folded: dict[int, int] = {}
    while True:
        while scheduler.wants_more and waiting:
            first, more, spare = waiting.pop(0)
            ticket, _ = scheduler.admit(first, first + more + spare)
            wanted[ticket], finally_wanted[ticket] = first, first + more
            planned[ticket] = folded[ticket] = 0
        if (plan := scheduler.schedule()) is not None:
            in_flight.append(plan)
            for span in plan.spans:
                assert span.start == planned[span.ticket]
                planned[span.ticket] = span.stop
            open_rows = sum(max(wanted[ticket] - planned[ticket], 0) for ticket in wanted)
            ahead = any(span.stop > wanted[span.ticket] for span in plan.spans)
            assert not (ahead and open_rows), "rows ahead took the room of rows that are wanted"
        if plan is None or len(in_flight) >= depth:
            if not in_flight:
                break
            oldest = in_flight.pop(0)
            settled = []
            for span in oldest.spans:
                folded[span.ticket] += len(span)
                if span.ticket in wanted and folded[span.ticket] >= finally_wanted[span.ticket]:
                    settled.append(span.ticket)
                    del wanted[span.ticket]
                elif span.ticket in wanted and folded[span.ticket] >= wanted[span.ticket]:
                    wanted[span.ticket] = finally_wanted[span.ticket]
                    scheduler.want(span.ticket, wanted[span.ticket])
            scheduler.folded(oldest, settled)
    assert len(finally_wanted) == len(samples)
    assert all(planned[ticket] >= rows for ticket, rows in finally_wanted.items())


def test_nothing_to_do_is_no_plan() -> None:
    assert Scheduler(4, 2).schedule() is None
