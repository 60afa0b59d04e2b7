"""Chunks as one stream: the same rows as each by itself, full batches from one chunk to the next, errors for all."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from function_models import defective, job, light, open_spec

from rate.backends.fake import FakeSpec
from rate.engine.engine import Engine, InProcess
from rate.engine.workers.stream import Stream
from rate.runs.rows import Records


def results(futures: list[Future[Records]]) -> dict[str, tuple]:
    return {one.id: one.rows for future in futures for one in future.result(60).records}


@pytest.mark.parametrize("size", [1, 3, 8])
def test_chunks_that_are_given_at_once_have_the_rows_of_one_process(image_set, size: int) -> None:
    one = job(image_set(8))
    with open_spec(FakeSpec(light), lambda _: None) as backend:
        runner = InProcess(backend)
        alone = {record.id: record.rows for done in runner.run(one, one.samples) for record in done.records}
        with Stream(runner) as stream:
            samples = list(one.samples)
            chunks = [samples[start : start + size] for start in range(0, 8, size)]
            assert results([stream.submit(0, one, chunk) for chunk in chunks]) == alone
            later = [stream.submit(0, one, chunk).result(60) for chunk in chunks]
            assert {record.id: record.rows for done in later for record in done.records} == alone


def test_a_batch_holds_samples_of_the_next_chunk(image_set) -> None:
    """Eight chunks of a sample each take the rows of a run over all of them, not a short batch for each."""
    one = job(image_set(8))
    with open_spec(FakeSpec(light), lambda _: None) as backend:
        runner = InProcess(backend)
        together = [done.stats for done in runner.run(one, one.samples)]
        with Stream(runner) as stream:
            answers = [stream.submit(0, one, [sample]) for sample in one.samples]
            done = [answer.result(60) for answer in answers]
    assert sum(one.stats.forwards for one in done) == sum(stats.forwards for stats in together)
    assert [one.stats.samples for one in done] == [1] * 8


def test_runs_follow_each_other(image_set) -> None:
    manifest = image_set(4)
    one, other = job(manifest), job(manifest, seed=5)
    with open_spec(FakeSpec(light), lambda _: None) as backend, Stream(InProcess(backend)) as stream:
        first = results([stream.submit(0, one, list(one.samples))])
        second = results([stream.submit(1, other, list(other.samples))])
        assert results([stream.submit(2, one, list(one.samples))]) == first
    assert second.keys() == first.keys()
    assert second != first


def test_chunks_of_two_runs_that_are_given_in_turn_have_the_rows_of_each(image_set) -> None:
    manifest = image_set(6)
    one, other = job(manifest), job(manifest, seed=5)
    samples = list(one.samples)
    with open_spec(FakeSpec(light), lambda _: None) as backend, Stream(InProcess(backend)) as stream:
        alone = [results([stream.submit(n, job, samples)]) for n, job in enumerate((one, other))]
        turns = [(n, samples[k : k + 2]) for k in (0, 2, 4) for n in (2, 3)]
        futures = [(n, stream.submit(n, (one, other)[n - 2], chunk)) for n, chunk in turns]
        found = [results([future for n, future in futures if n == run]) for run in (2, 3)]
    assert found == alone
    assert alone[0] != alone[1]


def test_an_error_ends_all_chunks_and_not_the_stream(image_set) -> None:
    one = job(image_set(4))
    with open_spec(FakeSpec(defective), lambda _: None) as backend, Stream(InProcess(backend)) as stream:
        samples = list(one.samples)
        answers = [stream.submit(0, one, samples[:2]), stream.submit(0, one, samples[2:])]
        for answer in answers:
            with pytest.raises(ZeroDivisionError):
                answer.result(60)
        with pytest.raises(ZeroDivisionError):
            stream.submit(1, one, samples).result(60)


def test_a_stream_that_is_closed_ends_with_chunks_unfinished(image_set) -> None:
    one = job(image_set(8))
    with open_spec(FakeSpec(light), lambda _: None) as backend:
        with Stream(InProcess(backend)) as stream:
            stream.submit(0, one, list(one.samples))
        assert not stream.running


def test_batches_that_fail_while_they_are_dropped_leave_nobody_waiting(image_set, monkeypatch) -> None:
    one = job(image_set(4))

    def failing(engine: Engine) -> None:
        raise ValueError("a batch in flight fails, too")

    monkeypatch.setattr(Engine, "drain", failing)
    with open_spec(FakeSpec(defective), lambda _: None) as backend, Stream(InProcess(backend)) as stream:
        with pytest.raises(ZeroDivisionError):
            stream.submit(0, one, list(one.samples)).result(60)
        assert stream.running
        monkeypatch.undo()
