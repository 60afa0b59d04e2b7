"""Cutting samples into chunks: nothing lost, nothing twice, whatever workers do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rate.engine.workers.chunks import Chunk, Chunks
from rate.runs.parts import PART_ROWS
from rate.types import Sample


def samples(count: int) -> list[Sample]:
    return [Sample(f"s{k}", "x", "") for k in range(count)]


@given(
    count=st.integers(0, 300),
    workers=st.integers(1, 5),
    events=st.lists(st.sampled_from(["done", "lost"]), min_size=0, max_size=300),
    pace=st.floats(0.001, 100.0),
)
def test_every_sample_is_done_once_or_given_up(count: int, workers: int, events: list[str], pace: float) -> None:
    chunks, flying = Chunks(samples(count), count, workers), list[Chunk]()
    done: list[str] = []
    given_up: list[str] = []
    turns = iter(events)
    while True:
        while len(flying) < workers and (chunk := chunks.next()) is not None:
            assert 1 <= len(chunk.samples) <= PART_ROWS
            flying.append(chunk)
        if not flying:
            break
        chunk = flying.pop(0)
        if next(turns, "done") == "done":
            chunks.finished(chunk, pace * len(chunk.samples))
            done += [sample.id for sample in chunk.samples]
        elif (sample := chunks.lost(chunk)) is not None:
            given_up.append(sample.id)
    assert sorted(done + given_up) == sorted(f"s{k}" for k in range(count))


def test_a_sample_is_given_up_only_when_two_workers_died_with_it_alone() -> None:
    chunks = Chunks(samples(8), 8, 1, least=2)
    deaths = 0
    while (chunk := chunks.next()) is not None:
        if "s5" not in [sample.id for sample in chunk.samples]:
            chunks.finished(chunk, 1.0)
        elif (sample := chunks.lost(chunk)) is not None:
            assert sample.id == "s5"
            assert chunk.samples == (sample,)
            break
        else:
            deaths += 1
    assert deaths == 3  # twice in a chunk of two, once alone; the next one gives up


def test_a_chunk_that_shared_its_worker_is_not_blamed_for_the_death() -> None:
    """Of two single samples at one worker the innocent one is evaluated, and only the other is given up."""
    chunks = Chunks(samples(2), 2, 1)
    both = [chunks.next(), chunks.next()]
    assert [chunks.lost(chunk) for chunk in both if chunk] == [None, None]
    assert chunks.returned
    again = [chunks.next(), chunks.next()]
    assert all(chunk is not None and chunk.alone for chunk in again)


def test_a_chunk_whose_node_was_lost_is_as_good_as_new() -> None:
    chunks = Chunks(samples(1), 1)
    for _ in range(5):
        chunk = chunks.next()
        assert chunk is not None
        assert chunks.lost(chunk, with_node=True) is None
    assert chunks.returned == chunk
    assert not chunk.alone


def test_samples_that_failed_come_back_with_their_host() -> None:
    chunks = Chunks(samples(3), 3, least=3)
    chunk = chunks.next()
    assert chunk is not None
    chunks.finished(chunk, 1.0)
    chunks.failed(chunk.samples[1:], "node7")
    assert chunks.next() == Chunk(chunk.samples[1:], failed_on="node7")
    assert chunks.next() is None
    assert not chunks.are_done


def test_chunks_take_about_their_time_and_shrink_towards_the_end() -> None:
    chunks = Chunks(samples(1000), 1000, 2)
    sizes = []
    while (chunk := chunks.next()) is not None:
        sizes.append(len(chunk.samples))
        chunks.finished(chunk, 0.2 * len(chunk.samples))  # 5 samples a second
    assert sizes[1] == 50
    assert sizes[-1] == 1
    assert max(sizes) == 50


def test_no_chunk_is_smaller_than_what_fills_a_batch() -> None:
    chunks = Chunks(samples(50), 50, 2, least=6)
    assert [len(chunk.samples) for chunk in iter(chunks.next, None)] == [6] * 8 + [2]
