"""Several processes on one run: the same rows as one process, and nothing lost or twice when workers die."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import pytest
from function_models import (
    KILL,
    SEEN,
    Broken,
    Telling,
    deadly,
    defective,
    evaluate,
    job,
    light,
    open_defective,
    open_spec,
)
from PIL import Image

from rate.artifacts.artifact import load_artifact
from rate.backends import process
from rate.backends.fake import FakeSpec
from rate.cli.main import run
from rate.config import Measurement
from rate.engine import open_runner
from rate.engine.evaluate import Progress
from rate.engine.evaluate import evaluate as run_on
from rate.engine.job import Job
from rate.engine.make_job import job_from_artifact
from rate.engine.open_runner import divided, runner_on
from rate.engine.outcome import Work
from rate.engine.workers.base import Answer, Assignment, Defect, Evaluated, Event, Failed, Ready, Setup
from rate.engine.workers.pool import Pool
from rate.errors import ArtifactError, BackendError, ConfigError, UsageError
from rate.execution import Execution
from rate.runs.part_list import read_list
from rate.runs.parts import read_rows
from rate.runs.rows import Records, RunStats, SampleResult
from rate.runs.run_document import read_run
from rate.version import NUMERICS


def rows_of(folder: Path) -> list[dict]:
    rows = read_rows(folder, read_run(folder)).to_pylist()
    return sorted(rows, key=lambda row: (row["id"], row["head"]))


def shared(manifest: Path, out: Path, spec: FakeSpec, workers: int = 2, **changes: object) -> list[Progress]:
    seen: list[Progress] = []
    evaluate(job(manifest, workers=workers, **changes), spec, out, seen.append)
    return seen


@pytest.fixture
def alone(image_set, tmp_path: Path) -> tuple[Path, list[dict]]:
    """A manifest of 24 images, and the rows that one process gives."""
    manifest = image_set(24)
    evaluate(job(manifest), FakeSpec(light), tmp_path / "alone")
    return manifest, rows_of(tmp_path / "alone")


@pytest.fixture
def deaths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "deaths"
    folder.mkdir()
    monkeypatch.setenv(KILL, str(folder))
    return folder


def test_workers_give_the_rows_of_one_process(alone, tmp_path: Path) -> None:
    manifest, expected = alone
    seen = shared(manifest, tmp_path / "run", FakeSpec(light), workers=3)
    assert rows_of(tmp_path / "run") == expected
    assert (seen[-1].done, seen[-1].errors) == (24, 0)
    run = read_run(tmp_path / "run")
    assert run.status == "complete"
    assert run.sessions[-1].samples == 24


def test_a_worker_that_is_killed_costs_its_chunk_and_nothing_else(alone, tmp_path: Path, deaths: Path) -> None:
    manifest, expected = alone
    for name in ("once", "twice"):
        (deaths / name).touch()
    shared(manifest, tmp_path / "run", FakeSpec(deadly))
    assert not list(deaths.iterdir()), "the workers were to die"
    assert rows_of(tmp_path / "run") == expected


def test_a_sample_that_kills_its_workers_becomes_an_error(image_set, tmp_path: Path, deaths: Path) -> None:
    manifest = image_set(6)
    Image.new("RGB", (40, 40), (255, 255, 255)).save(manifest.parent / "3.png")
    (deaths / "on-bright").touch()
    shared(manifest, tmp_path / "run", FakeSpec(deadly))
    failed = [row for row in rows_of(tmp_path / "run") if row["error"]]
    assert {row["id"] for row in failed} == {"s3"}
    assert "2 workers died" in failed[0]["error"]
    assert "SIGKILL" in failed[0]["error"]
    assert len(rows_of(tmp_path / "run")) == 12


def test_workers_that_cannot_load_the_model_end_the_run_with_the_cure(image_set, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"3 workers died while they loaded.*exit code 7.*fewer --workers"):
        shared(image_set(3), tmp_path / "run", Broken(light))
    assert not (tmp_path / "run").exists(), "which backend a run is of is not known before"


def test_a_defect_in_a_worker_ends_the_run_at_once_with_its_traceback(image_set, tmp_path: Path) -> None:
    with pytest.raises(Defect, match="ZeroDivisionError in a worker: seven by nothing") as caught:
        shared(image_set(6), tmp_path / "run", FakeSpec(defective))
    assert "in defective" in "".join(traceback.format_exception(caught.value)), "where it happened, in the worker"
    assert not read_list(tmp_path / "run"), "it is no error of a sample"


def test_the_command_calls_it_a_defect_once(trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Exit 4, with the worker's traceback in the crash file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(open_runner, "open_verified", open_defective)
    command = ["eval", str(trained.artifact), str(trained.manifest), "--out", "run", "--workers", "2"]
    assert run([*command, "--split", "test", "--threads", "1"]) == 4
    assert capsys.readouterr().err.count("This is a defect of rate") == 1
    [crash] = tmp_path.glob("rate-crash-*.txt")
    assert "in defective" in crash.read_text()


def test_a_run_that_was_given_up_leaves_a_pool_that_takes_the_next(image_set, tmp_path: Path) -> None:
    manifest = image_set(24)
    spec, one = FakeSpec(light), job(manifest, workers=2)
    evaluate(job(manifest), spec, tmp_path / "alone")
    with divided(one.execution) as division, runner_on(division, partial(open_spec, spec)) as runner:
        next(iter(runner.run(one, one.samples)))
        run_on(one, runner, tmp_path / "run")
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "alone")


def test_errors_of_samples_are_rows_of_theirs(image_set, tmp_path: Path) -> None:
    manifest = image_set(6)
    (manifest.parent / "2.png").write_bytes(b"no image")
    seen = shared(manifest, tmp_path / "run", FakeSpec(light))
    assert {row["id"] for row in rows_of(tmp_path / "run") if row["error"]} == {"s2"}
    assert seen[-1].errors == 1


DRIVER = """
import sys
from pathlib import Path
from function_models import evaluate, job, light
from rate.backends.fake import FakeSpec

if __name__ == "__main__":
    evaluate(job(Path(sys.argv[1]), workers=2, runner=sys.argv[3]), FakeSpec(light), Path(sys.argv[2]))
"""


def run_and_kill(manifest: Path, out: Path, runner: str, after_parts: int) -> list[str]:
    """A driver in a process of its own, killed once so many parts are listed; the numbers of its children."""
    children: list[str] = []
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    script = out.parent / "driver.py"
    script.write_text(DRIVER)
    with subprocess.Popen(
        [sys.executable, str(script), str(manifest), str(out), runner], env=os.environ | {"PYTHONPATH": path}
    ) as driver:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and driver.poll() is None:
            if (out / "run.json").exists() and len(read_list(out)) >= after_parts:
                if sys.platform == "linux":  # elsewhere nobody tells
                    children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
                driver.send_signal(signal.SIGKILL)
                break
            time.sleep(0.01)
    return children


def test_a_driver_that_is_killed_is_resumed_to_the_same_rows(image_set, tmp_path: Path) -> None:
    manifest, out = image_set(200), tmp_path / "run"
    evaluate(job(manifest), FakeSpec(light), tmp_path / "alone")
    workers = run_and_kill(manifest, out, "local", 1)
    assert len(workers) >= 2 or sys.platform != "linux"
    rows = rows_of(out)
    assert read_run(out).status == "running"
    shared(manifest, out, FakeSpec(light))
    assert rows_of(out) == rows_of(tmp_path / "alone")
    assert read_run(out).sessions[-1].samples == 200 - len({row["id"] for row in rows}), "what was stored stays"
    assert not [pid for pid in workers if is_running(pid)], "workers outlived their owner"


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_worker_is_this_process() -> None:
    with divided(Execution(workers=1, threads=3)) as found:
        assert (found.workers, found.execution.threads, found.make) == (1, 3, None)


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda:0,0", "names a GPU twice"), ("cuda:0,", "cuda:N,M"), ("cuda:1,2", "leave --workers and --runner out")],
)
def test_gpus_that_cannot_be_meant_are_refused(device: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Execution(device=device, workers=3)


def test_each_worker_sees_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEEN, str(tmp_path))
    monkeypatch.setattr(process, "_gpus_of_machine", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-8f2a,MIG-11,7")
    with divided(Execution(device="cuda:0,2")) as found:
        assert (found.workers, found.execution.device) == (2, "cuda:0"), "the only one that it sees"
    with found.make(partial(open_spec, Telling(light))) as workers:
        for worker in range(found.workers):
            workers.start(worker)
        answers = dict(workers.wait() for _ in range(found.workers))
    assert answers == dict.fromkeys((0, 1), Ready("fake", "f32", Setup.here()))
    assert {path.name for path in tmp_path.glob("sees-*")} == {"sees-4", "sees-MIG-11"}


def test_gpus_that_are_not_there_are_a_request_that_cannot_be_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_gpus_of_machine", lambda: 0)
    with pytest.raises(UsageError, match="no GPU is visible here"), divided(Execution(device="cuda:0,1")):
        pass
    monkeypatch.setattr(process, "_gpus_of_machine", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    told = r"cuda:2, and 2 are visible here \(CUDA_VISIBLE_DEVICES=4,5\); the last one is cuda:1"
    with pytest.raises(UsageError, match=told), divided(Execution(device="cuda:0,2")):
        pass


class Answering:
    """Workers on hosts that nobody has, which answer as told when they are started."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = [*answers]

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def start(self, worker: int) -> None:
        pass

    def send(self, worker: int, assignment: Assignment) -> None:
        raise AssertionError("nothing is to be sent")

    def wait(self) -> tuple[int, Event]:
        return 0, self.answers.pop(0)

    def away(self) -> tuple[int, ...]:
        return (0, 1)

    def room(self) -> int:
        return 0


class Idle(Answering):
    """One worker that answers a chunk only when nothing else is to be sent."""

    def __init__(self) -> None:
        super().__init__(Ready("fake", "f32", Setup.here()))
        self.sent: list[Assignment] = []

    def send(self, worker: int, assignment: Assignment) -> None:
        self.sent.append(assignment)
        self.answers.append(Evaluated(assignment.number, Records((), RunStats(rows=1))))


def test_a_worker_begins_the_next_run_before_the_last_samples_of_one_are_done(image_set) -> None:
    one, workers = job(image_set(1)), Idle()
    works = [Work(one, one.samples) for _ in range(3)]
    coming = iter(works)
    with Pool(workers, 1) as pool:
        results = pool.run_each(lambda: next(coming, None))
        assert next(results)[0] is works[0]
        assert [assignment.run for assignment in workers.sent] == [0, 1]
        assert [work for work, done in results if done is None] == works


def setup(host: str, numerics: int = NUMERICS, **changed: str) -> Setup:
    """Of another host, where other versions are installed."""
    here = Setup.here()
    return Setup(host, numerics, {**here.versions, **{name.replace("_", "-"): own for name, own in changed.items()}})


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (setup("node7", numerics=NUMERICS + 1), "node7 has version .* of the numerics"),
        (setup("node7", rate="0.0.9"), "node7 has rate 0.0.9 instead of"),
        (setup("node7", onnxruntime="1.0.0", openvino="1.0.0"), "node7 has onnxruntime 1.0.0 instead of"),
    ],
)
def test_a_worker_that_would_give_other_rows_is_refused_with_its_host(there: Setup, message: str) -> None:
    with pytest.raises(UsageError, match=message), Pool(Answering(Ready("onnxruntime", "f32", there)), 1):
        pass


@pytest.mark.parametrize(("backend", "unused"), [("onnxruntime", "openvino"), ("torch-cuda", "torchvision")])
def test_a_library_that_the_backend_does_not_use_may_differ(backend: str, unused: str) -> None:
    with Pool(Answering(Ready(backend, "f32", setup("node7", **{unused: "1.0.0"}))), 1) as pool:
        assert pool.backend == backend


def test_libraries_that_read_images_are_compared_when_a_job_uses_them(image_set) -> None:
    manifest, there = image_set(1), Ready("onnxruntime", "f32", setup("node7", torchvision="0.1.0", scipy="0.1.0"))
    for changes, library in (({"pixel_path": "torchvision"}, "torchvision"), ({"corrupt": "fog:1"}, "scipy")):
        asked = job(manifest, **changes)
        with Pool(Answering(there), 1) as pool, pytest.raises(UsageError, match=f"node7 has {library} 0.1.0 instead"):
            next(pool.run(asked, asked.samples))


class TwoHosts:
    """A worker on each of two hosts; samples whose ids are ``failing`` fail there. The first one is the faster one."""

    def __init__(self, *failing: set[str]) -> None:
        self.failing, self.sent = failing, ([], [])
        self.lead = 8  # samples of the first worker before the second one is ready
        self.events: list[tuple[int, Event]] = [(k, Ready("fake", "f32", setup(f"node{k}"))) for k in range(2)]

    def __enter__(self) -> TwoHosts:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def start(self, worker: int) -> None:
        pass

    def away(self) -> tuple[int, ...]:
        return (0, 1)

    def room(self) -> int:
        return 0

    def send(self, worker: int, assignment: Assignment) -> None:
        ids = [sample.id for sample in assignment.samples]
        self.sent[worker].extend(ids)
        rows = [{"id": one, "error": f"no {one}" if one in self.failing[worker] else None} for one in ids]
        records = Records(tuple(SampleResult((row,)) for row in rows), RunStats(samples=len(rows), rows=len(rows)))
        self.events.append((worker, Evaluated(assignment.number, records)))

    def wait(self) -> tuple[int, Event]:
        if len(self.events) > 1 and len(self.sent[0]) < self.lead:
            return self.events.pop(next((k for k, event in enumerate(self.events) if event[0] == 0), 0))
        return self.events.pop(0)


def evaluated_by(workers: TwoHosts, one: Job, said: list[str]) -> dict[str, str | None]:
    with Pool(workers, 2, said.append) as pool:
        done = list(pool.run(one, one.samples))
    results = [result for records in done for result in records.records]
    assert sum(records.stats.samples for records in done) == len(results) == len({result.id for result in results})
    return {result.id: result.error for result in results}


def test_a_host_where_everything_fails_is_left_out_and_costs_nothing(image_set) -> None:
    """As one without the images: failing fast, it takes most samples, and all of them are evaluated elsewhere."""
    one, said = job(image_set(60)), list[str]()
    ids = {sample.id for sample in one.samples}
    workers = TwoHosts(ids, set())
    assert evaluated_by(workers, one, said) == dict.fromkeys(ids)
    [told] = said
    assert "node0 is left out" in told
    assert "in a row failed there, and not on node1" in told


def test_samples_that_fail_on_every_host_have_failed(image_set) -> None:
    one, said = job(image_set(60)), list[str]()
    ids = {sample.id for sample in one.samples}
    workers = TwoHosts(ids, ids)
    assert evaluated_by(workers, one, said) == {name: f"no {name}" for name in ids}
    assert sorted(workers.sent[0]) == sorted(workers.sent[1]) == sorted(ids), "each was tried once on each"
    assert not said


def test_a_host_that_fails_now_and_then_stays(image_set) -> None:
    one, said = job(image_set(60)), list[str]()
    assert not any(evaluated_by(TwoHosts({f"s{k}" for k in range(0, 60, 3)}, set()), one, said).values())
    assert not said


def test_a_host_that_cannot_take_part_is_left_out_if_another_can(image_set) -> None:
    one, said, workers = job(image_set(4)), list[str](), TwoHosts(set(), set())
    workers.events[0] = 0, Failed(ArtifactError("no artifact"), "node0")
    assert len(evaluated_by(workers, one, said)) == 4
    assert said == ["node0 is left out: on node0: no artifact"]
    assert not workers.sent[0]


def test_an_error_of_another_host_names_it() -> None:
    failed = Failed(BackendError("no memory"), "node7")
    with pytest.raises(BackendError, match=r"^on node7: no memory"), Pool(Answering(failed), 1):
        pass


def test_a_worker_refuses_another_artifact_at_the_same_path(trained, tmp_path: Path) -> None:
    """As on a node whose copy is of another day: the owner has verified its own."""
    shutil.copytree(trained.artifact, tmp_path / "artifact")
    artifact = load_artifact(tmp_path / "artifact")
    other = json.loads((tmp_path / "artifact" / "artifact.json").read_text())
    other["heads"][0]["classes"].reverse()
    (tmp_path / "artifact" / "artifact.json").write_text(json.dumps(other))
    execution = Execution(workers=2, threads=1, backend="onnxruntime")
    one = job_from_artifact(artifact, trained.manifest, "test", Measurement(), execution)
    with pytest.raises(ArtifactError, match="another artifact here"), open_runner.open_runner(artifact, one):
        pass
