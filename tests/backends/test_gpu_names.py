"""Names of the GPU's libraries that the code uses exist, as far as that can be told without a GPU.

`onnxruntime_gpu.json` lists what the wheel of that version holds: providers, options of the CUDA provider, entries of
sessions and runs, and the libraries of CUDA that it loads. The wheel is too large to install for a test, and shares its
folder with `onnxruntime`; where RATE_TEST_ORT_GPU names it, the list itself is held against it.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import zipfile
from pathlib import Path

import pytest
import torch

from rate.backends import ort_binding, ort_cuda
from rate.backends.ort_cuda import PROVIDERS, cuda_settings

RATE = Path(ort_cuda.__file__).parents[1]
LISTED = json.loads(Path(__file__).with_name("onnxruntime_gpu.json").read_text())
LIBRARIES = [name for name in LISTED if name.endswith(".so")]


def test_providers_and_options_are_those_of_the_gpu_package() -> None:
    assert set(PROVIDERS.values()) <= set(LISTED["providers"])
    for graphs in (True, False):
        assert cuda_settings(1, graphs).keys() <= set(LISTED["libonnxruntime_providers_cuda.so"])
    assert cuda_settings(3, True) == {"device_id": "3", "use_tf32": "0", "enable_cuda_graph": "1"}


def test_entries_of_sessions_and_runs_are_those_of_the_package() -> None:
    """An unknown one is ignored without a word."""
    found = {
        name
        for path in RATE.rglob("*.py")
        for name in re.findall(r'add_(?:session|run)_config_entry\(\s*"([^"]+)"', path.read_text())
    }
    assert "gpu_graph_id" in found
    assert "session.record_ep_graph_assignment_info" in found
    assert found <= set(LISTED["libonnxruntime.so"])


def test_the_cuda_runtime_is_the_one_that_the_provider_loads() -> None:
    assert set(ort_binding._CUDART) & set(LISTED["needed"]) == {"libcudart.so.13"}
    assert ort_binding._CUDART[0] == "libcudart.so.13", "the one that is loaded already comes first"


@pytest.mark.skipif(
    "RATE_TEST_ORT_GPU" not in os.environ,
    reason="NOT CHECKED: the list against its wheel; RATE_TEST_ORT_GPU names a file of `pip download onnxruntime-gpu`",
)
def test_the_list_is_what_the_wheel_holds() -> None:
    wheel = Path(os.environ["RATE_TEST_ORT_GPU"])
    assert wheel.name.split("-")[1] == LISTED["version"]
    with zipfile.ZipFile(wheel) as archive:
        members = {Path(name).name: name for name in archive.namelist() if name.startswith("onnxruntime/capi/")}
        for library in LIBRARIES:
            content = archive.read(next(members[name] for name in members if name.startswith(library)))
            # A string may be the end of a longer one, and the end of a long one may be part of the instructions.
            missing = [name for name in LISTED[library] if f"{name}\0".encode()[:44] not in content]
            if library == "libonnxruntime_providers_cuda.so":
                missing += [name for name in LISTED["needed"] if name.encode() not in content]
            assert missing == []


def test_what_is_used_of_torch_is_there() -> None:
    """A build for the CPU alone has the whole interface."""
    cuda = torch.cuda
    used = {name for path in RATE.rglob("*.py") for name in re.findall(r"torch\.cuda\.(\w+)", path.read_text())}
    assert {"CUDAGraph", "Stream", "graph", "empty_cache", "get_device_capability"} <= used
    assert [name for name in sorted(used) if not hasattr(cuda, name)] == []
    assert {"stream", "capture_error_mode"} <= inspect.signature(cuda.graph.__init__).parameters.keys()
    assert hasattr(cuda.CUDAGraph, "replay")
    assert hasattr(cuda.Stream, "record_event")
    assert hasattr(cuda.Stream, "cuda_stream") or "cuda_stream" in (cuda.Stream.__doc__ or "") + str(dir(cuda.Stream))
