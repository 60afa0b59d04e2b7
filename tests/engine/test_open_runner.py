"""A run opens its model once, on the backend that passed the self-test, and says why others were passed over."""

from __future__ import annotations

import logging
import pickle
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from function_models import Counted, evaluate, job, light

import rate
from rate.artifacts.artifact import load_artifact
from rate.backends import onnxruntime as ort_backend
from rate.backends import process
from rate.cli.main import run
from rate.config import Measurement
from rate.engine import choose_backend
from rate.engine import open_runner as opening
from rate.engine.choose_backend import for_reference, open_backend
from rate.engine.evaluate import evaluate as run_on
from rate.engine.make_job import job_from_artifact
from rate.engine.open_runner import open_runner
from rate.errors import UsageError
from rate.execution import Execution


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The graphs that ONNX Runtime has loaded."""
    loaded: list[str] = []
    plain = ort_backend.open_session

    def counted(model: str, *arguments: object) -> object:
        loaded.append(model)
        return plain(model, *arguments)

    monkeypatch.setattr(ort_backend, "open_session", counted)
    return loaded


@pytest.mark.parametrize("settings", [{"masks": 24}, {"masks": 24, "grid": 4}, {"saliency": "occlusion"}])
def test_the_model_is_loaded_once_whatever_is_measured(trained, tmp_path: Path, sessions, settings: dict) -> None:
    common = {"backend": "onnxruntime", "threads": 1, "split": "test"}
    rate.evaluate(trained.artifact, trained.manifest, tmp_path / "run", **common, **settings)
    assert len(sessions) == 1


def test_a_runner_takes_one_job_after_another(trained, tmp_path: Path, sessions) -> None:
    """Of other masks and other batches: the graph stays loaded, and the rows are those of runs of their own."""
    execution = Execution(backend="onnxruntime", threads=1)
    loaded = load_artifact(trained.artifact)
    first = job_from_artifact(loaded, trained.manifest, "test", Measurement(masks=24), execution)
    others = [
        replace(first, measurement=Measurement(masks=20, grid=5), execution=replace(execution, batch=5)),
        replace(first, measurement=Measurement(saliency="occlusion")),
        first,
    ]
    with open_runner(loaded, first) as runner:
        together = [run_on(one, runner, tmp_path / str(k)).heads for k, one in enumerate([first, *others])]
    assert len(sessions) == 1
    for k, one in enumerate(others, 1):
        with open_runner(loaded, one) as runner:
            assert run_on(one, runner, tmp_path / f"alone-{k}").heads == together[k]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_worker_opens_its_backend_once(image_set, tmp_path: Path, workers: int) -> None:
    opened = tmp_path / "opened"
    opened.mkdir()
    evaluate(job(image_set(24), workers=workers), Counted(light, folder=str(opened)), tmp_path / "run")
    assert len(list(opened.iterdir())) == workers


def test_the_command_says_it_and_python_logs_and_returns_it(trained, tmp_path: Path, monkeypatch, caplog) -> None:
    def passing_over(artifact, execution, form, say):
        say("passed over: a GPU that is no good")
        return open_backend(artifact, replace(execution, backend="onnxruntime"), form, say)

    monkeypatch.setattr(opening, "open_backend", passing_over)
    two_splits = Path(shutil.copytree(trained.manifest.parent, tmp_path / "set")) / "manifest.csv"
    two_splits.write_text(two_splits.read_text().replace("test", "train", 1))
    with caplog.at_level(logging.WARNING, "rate"):
        summary = rate.evaluate(trained.artifact, two_splits, tmp_path / "run", masks=24, threads=1)
    assert len(summary.notices) == 2
    assert "split" in summary.notices[0], "all rows are used"
    assert summary.notices[1] == "passed over: a GPU that is no good"
    assert [record.getMessage() for record in caplog.records] == list(summary.notices)


def test_a_gpu_that_is_not_there_is_a_request_that_cannot_be_met(trained, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    command = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(tmp_path / "run"), "--device", "cuda"]
    assert run(command) == 2
    assert "no GPU is visible" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["explain", "bench", "eval --dry-run"])
def test_of_several_gpus_one_process_takes_the_first_and_says_so(
    trained, tmp_path: Path, verb: str, monkeypatch, capsys
) -> None:
    """The GPUs are there, and no runtime for them: what is asked for reaches the choice of a backend."""
    monkeypatch.setattr(process, "_gpus_of_machine", lambda: 4)
    monkeypatch.setattr(choose_backend, "find_spec", lambda _: None)  # PyTorch would look for the GPU
    given = {"explain": [str(trained.manifest.parent / "0.png")], "bench": []}
    more = given.get(verb, [str(trained.manifest), "--out", str(tmp_path / "run"), "--dry-run"])
    assert run([verb.split()[0], str(trained.artifact), *more, "--device", "cuda:3,1"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert verb == "eval --dry-run" or "of --device cuda:3,1, one process uses cuda:3" in said
    assert "--device cuda:3 needs CUDAExecutionProvider" in said
    assert run([verb.split()[0], str(trained.artifact), *more, "--device", "cuda:7"]) == 2
    assert "--device names cuda:7, and 4 are visible here" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime-cuda", "torch-cuda"])
def test_a_backend_of_gpus_without_one_is_a_request_that_cannot_be_met(trained, monkeypatch, backend: str) -> None:
    monkeypatch.setattr(process, "_gpus_of_machine", lambda: 0)
    for device in ("auto", "cuda:1"):
        with (
            pytest.raises(UsageError),
            open_backend(load_artifact(trained.artifact), Execution(backend, device=device)),
        ):
            pass


def test_the_reference_in_f32_is_on_the_same_gpu_where_a_runtime_can_use_it(trained, monkeypatch) -> None:
    loaded, on_gpu = load_artifact(trained.artifact), Execution("tensorrt", "fp16", device="cuda:2,1")
    assert for_reference(loaded, on_gpu) == Execution("auto", "f32", device="cuda:2"), "PyTorch has the source"
    monkeypatch.setattr(choose_backend, "find_spec", lambda _: None)
    assert for_reference(loaded, on_gpu) == Execution("auto", "f32", device="cpu")
    monkeypatch.setattr(choose_backend.ort_cuda, "ready", lambda: True)
    assert for_reference(loaded, on_gpu) == Execution("auto", "f32", device="cuda:2")


def test_a_study_of_a_run_on_several_gpus_takes_the_first() -> None:
    alone = Execution(device="cuda:3,1", workers=2).in_one_process
    assert (alone.device, alone.workers, alone.runner) == ("cuda:3", 0, "local")
    assert Execution(runner="ray", workers=4).in_one_process == Execution()


def test_what_opens_a_backend_travels_to_workers(trained) -> None:
    opener = partial(open_backend, load_artifact(trained.artifact), Execution("onnxruntime", threads=1), "pixels")
    with pickle.loads(pickle.dumps(opener))(lambda _: None) as backend:
        assert backend.name == "onnxruntime"
