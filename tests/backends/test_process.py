"""What a process may use is asked of the system, not guessed."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_info

from rate.backends.ort_cuda import ready
from rate.backends.process import cuda_visible, one_blas_thread, split_device


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_hidden_gpu_is_not_visible(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert not cuda_visible()
    assert not ready()


@pytest.mark.parametrize(("text", "expected"), [("cuda", ("cuda", 0)), ("cuda:3", ("cuda", 3)), ("cpu", ("cpu", 0))])
def test_devices_have_a_kind_and_a_number(text: str, expected: tuple[str, int]) -> None:
    assert split_device(text) == expected


def test_blas_has_one_thread_inside_and_its_own_number_outside() -> None:
    def threads() -> list[int]:
        return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

    before = threads()
    with one_blas_thread():
        assert set(threads()) == {1}
    assert threads() == before
