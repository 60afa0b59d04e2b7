"""A batch that the device has no room for is tried once more, smaller; the verdicts are those of any other batch."""

from __future__ import annotations

from pathlib import Path

import pytest
from function_models import evaluate, job, light, open_spec

from rate.backends.base import runtime_failure
from rate.backends.fake import FakeSpec
from rate.engine.engine import InProcess
from rate.engine.evaluate import evaluate as run_on
from rate.engine.workers.stream import Stream
from rate.errors import BackendError, OutOfMemory
from rate.types import Float32
from tests.engine.test_evaluate import assert_same_rows, rows_of


class Full:
    """A device that is full from its n-th large batch on, as another process fills it."""

    def __init__(self, room: int, after: int = 0) -> None:
        self.room, self.after, self.sizes = room, after, []

    def __call__(self, x: Float32) -> dict[str, Float32]:
        self.sizes.append(len(x))
        if len(x) > self.room and sum(size > self.room for size in self.sizes) > self.after:
            raise runtime_failure("a batch failed", "CUDA error: out of memory")
        return light(x)


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("settings", [{"masks": 40}, {"masks": "auto", "max_masks": 128}, {"verdict": "swap"}])
def test_a_quarter_of_the_batch_is_tried_once_and_kept(
    image_set, tmp_path: Path, after: int, depth: int, settings: dict
) -> None:
    manifest, said = image_set(16), list[str]()
    device = Full(8, after)
    one = job(manifest, **{**settings, "batch": 32})
    with open_spec(FakeSpec(device, depth)) as backend:
        runner = InProcess(backend, said.append)
        run_on(one, runner, tmp_path / "full")
        refused = len(device.sizes)
        run_on(one, runner, tmp_path / "again")
    assert max(device.sizes[refused:]) <= 8, "the next job does not try the large batch again"
    assert len(said) == 1
    assert said[0].startswith("no room for a batch of 32 rows, so 8 from here on (a batch failed: CUDA error: out of")
    evaluate(job(manifest, **settings), FakeSpec(light), tmp_path / "whole")
    for name in ("full", "again"):
        assert_same_rows(rows_of(tmp_path / "whole"), rows_of(tmp_path / name))


@pytest.mark.parametrize("after", [0, 2])
def test_a_worker_goes_on_with_what_is_unfinished(image_set, after: int) -> None:
    one, said, device = job(image_set(12), batch=32), list[str](), Full(8, after)
    with open_spec(FakeSpec(light)) as backend:
        alone = {record.id: record.rows for done in InProcess(backend).run(one, one.samples) for record in done.records}
    with open_spec(FakeSpec(device)) as backend, Stream(InProcess(backend, said.append)) as stream:
        samples = list(one.samples)
        answers = [stream.submit(0, one, samples[start : start + 4]) for start in range(0, 12, 4)]
        found = {record.id: record.rows for answer in answers for record in answer.result(60).records}
    assert found == alone
    assert len(said) == 1
    with (
        open_spec(FakeSpec(Full(0))) as backend,
        Stream(InProcess(backend)) as stream,
        pytest.raises(OutOfMemory),
    ):
        stream.submit(0, one, samples).result(60)


@pytest.mark.parametrize("room", [0, 7])
def test_a_second_failure_ends_the_run(image_set, tmp_path: Path, room: int) -> None:
    device = Full(room)
    with pytest.raises(OutOfMemory, match="a smaller --batch needs less memory"):
        evaluate(job(image_set(5), batch=32), FakeSpec(device), tmp_path / "run")
    assert sum(size > room for size in device.sizes) == 2


def test_other_failures_are_not_tried_again(image_set, tmp_path: Path) -> None:
    def broken(x: Float32) -> dict[str, Float32]:
        if len(x) > 1:
            raise runtime_failure("a batch failed", "CUDA error: an illegal memory access was encountered")
        return light(x)

    with pytest.raises(BackendError, match="another --backend") as caught:
        evaluate(job(image_set(5), batch=32), FakeSpec(broken), tmp_path / "run")
    assert not isinstance(caught.value, OutOfMemory)


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: out of memory",
        "Error Code 2: OutOfMemory (Requested size was 8589934592 bytes.)",
        "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "BFCArena: Failed to allocate memory for requested buffer of size 4294967296",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory",
        "std::bad_alloc",
    ],
)
def test_the_words_of_runtimes_without_memory_are_known(words: str) -> None:
    assert isinstance(runtime_failure("a batch", words), OutOfMemory)
