"""What a process may use is asked of the system, not guessed."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_info

from rate.backends import process
from rate.backends.ort_cuda import ready
from rate.backends.process import (
    check_one_gpu,
    cuda_visible,
    one_blas_thread,
    split_device,
    visible_gpu,
    visible_gpus,
)
from rate.errors import UsageError


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_hidden_gpu_is_not_visible(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert not cuda_visible()
    assert not ready()


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (None, ("0", "1", "2", "3")),
        ("2,3", ("2", "3")),
        (" 3 , GPU-8f2a", ("3", "GPU-8f2a")),
        ("MIG-1b,MIG-GPU-8f2a/1/0", ("MIG-1b", "MIG-GPU-8f2a/1/0")),
        ("1,-1,2", ("1",)),
        ("1,9,2", ("1",)),
        ("1,,2", ("1",)),
        ("all", ()),
    ],
)
def test_the_list_of_the_parent_names_the_gpus_and_ends_where_cuda_ends_it(
    monkeypatch: pytest.MonkeyPatch, listed: str | None, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(process, "_gpus_of_machine", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if listed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_gpus() == expected
    assert [visible_gpu(number) for number in range(len(expected))] == list(expected)
    with pytest.raises(UsageError, match=f"names cuda:{len(expected)}, and "):
        visible_gpu(len(expected))
    assert cuda_visible() == bool(expected)
    monkeypatch.setattr(process, "_gpus_of_machine", lambda: 0)
    assert visible_gpus() == (), "a list does not make a GPU"


def test_of_mig_instances_a_process_uses_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_gpus_of_machine", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    for device in ("cuda", "cuda:0", "cpu", "auto"):
        check_one_gpu(device)
    with pytest.raises(UsageError, match="set CUDA_VISIBLE_DEVICES=MIG-b and use --device cuda:0"):
        check_one_gpu("cuda:1")


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
