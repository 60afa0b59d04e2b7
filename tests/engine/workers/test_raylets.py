"""Raylets of this machine as nodes of a cluster, and an S3 server: 2,000 samples, while actors, nodes and the driver
are killed and a fifth of all requests fails; and tar shards, each of which one node fetches.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from function_models import BAD, KILL, evaluate, job, light
from object_store import ObjectStore
from test_on_ray import foreign_head, nodes_in, stats
from test_pool import rows_of

from rate.backends.fake import FakeSpec
from rate.data.formats.pack import pack
from rate.runs.remote import local_run
from rate.runs.run_document import read_run

if find_spec("ray") is None:
    pytest.skip("Ray is not installed: nothing of a cluster is tested", allow_module_level=True)

DRIVER = """
import sys
from functools import partial
from function_models import job, of_node, open_spec
from rate.backends.fake import FakeSpec
from rate.engine.evaluate import evaluate
from rate.engine.open_runner import divided, runner_on
from rate.runs.remote import run_for_writing

if __name__ == "__main__":
    manifest, out, runner = sys.argv[1:]
    one, say = job(manifest, runner=runner, threads=1, masks=20), partial(print, file=sys.stderr, flush=True)
    with run_for_writing(out) as folder, divided(one.execution, say) as division:
        with runner_on(division, partial(open_spec, FakeSpec(of_node)), say) as runner:
            evaluate(one, runner, folder, part_rows=64)
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_cluster_whose_nodes_come_and_go_gives_the_rows_of_one_process(
    image_set, tmp_path: Path, store: ObjectStore
) -> None:
    images, deaths, requests = image_set(50), tmp_path / "deaths", itertools.count()
    out = "s3://pictures/runs/one"
    evaluate(job(many(images), masks=20), FakeSpec(light), tmp_path / "alone")
    manifest = many(store.put_set(images))
    store.refuse = lambda method, path: (
        ("503 Slow Down", "SlowDown") if method in ("GET", "PUT") and next(requests) % 5 == 0 else None
    )
    deaths.mkdir()
    with (
        tempfile.TemporaryDirectory(prefix="r") as folder,
        foreign_head(Path(folder), tmp_path, cpus=0) as (address, environment),
        driver(manifest, out, tmp_path, address, environment) as (first, said),
    ):
        environment[KILL] = str(deaths)
        joined = partial(node, Path(folder), address)
        until(lambda: "waiting for a worker" in said.read_text(), first)
        with joined(environment), joined(environment) as lost:
            until(lambda: parts(store) > 2, first)
            (deaths / "once").touch()
            until(lambda: not (deaths / "once").exists(), first)
            before = parts(store)
            kill(lost)
            until(lambda: parts(store) > before + 1, first)
            first.kill()
            first.wait()
            assert read_run(local_run(out)).status == "running"
            again = driver(manifest, out, tmp_path, address, environment)
            with joined(environment | {BAD: "1"}), again as (second, told):
                assert second.wait(600) == 0
    assert read_run(local_run(out)).status == "complete"
    rows = rows_of(local_run(out))
    assert [row | {"version": None} for row in rows] == rows_of(tmp_path / "alone")
    assert all(row["version"] for row in rows)
    assert "is left out: " in told.read_text()
    assert next(requests) > 2000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_tar_is_fetched_once_by_one_node_of_a_cluster(
    trained, image_set, tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, nodes = 6, [tmp_path / name for name in ("left", "right")]
    pack(str(image_set(12 * shards)), tmp_path / "packed", shard_samples=12)
    for shard in (tmp_path / "packed").iterdir():
        store.put(f"set/{shard.name}", shard.read_bytes())
    data = f"s3://pictures/set/{{000000..{shards - 1:06d}}}.tar"
    command = ["eval", str(trained.artifact), data, "--fills", "24", "--batch", "8", "--threads", "1"]
    with (
        tempfile.TemporaryDirectory(prefix="r") as folder,
        foreign_head(Path(folder), tmp_path, cpus=0) as (address, environment),
        node(Path(folder), address, environment | {"RATE_CACHE": str(nodes[0])}),
        node(Path(folder), address, environment | {"RATE_CACHE": str(nodes[1])}),
    ):
        store.asked.clear()
        joined = [*command, "--out", str(tmp_path / "run"), "--runner", f"ray:{address}", "--workers", "2"]
        subprocess.run([sys.executable, "-m", "rate", *joined], env=environment, check=True, timeout=400)
    fetched = {name: store.count("GET", f"/set/{name:06d}.tar") for name in range(shards)}
    assert fetched == dict.fromkeys(range(shards), 1)
    held = [{path.name for path in (node / "shards").iterdir() if path.suffix != ".lock"} for node in nodes]
    assert all(held)
    assert sum(map(len, held)) == len(set.union(*held)) == shards
    monkeypatch.setenv("RATE_CACHE", str(tmp_path / "alone-cache"))
    subprocess.run([sys.executable, "-m", "rate", *command, "--out", str(tmp_path / "alone")], check=True, timeout=400)
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "alone")


def many(manifest: Path) -> Path:
    """A manifest with 40 samples of each image."""
    header, *lines = manifest.read_text().splitlines()
    rows = [line.replace("s", f"s{k}-", 1) for k in range(40) for line in lines]
    path = manifest.with_name(f"many-{manifest.name}")
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@contextmanager
def driver(
    manifest: Path, out: str, folder: Path, address: str, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A run in a process of its own, and the file of what it says."""
    script, said = folder / "driver.py", folder / f"said-{time.monotonic_ns()}"
    script.write_text(DRIVER)
    command = [sys.executable, str(script), str(manifest), out, f"ray:{address}"]
    with said.open("wb") as file, subprocess.Popen(command, env=environment, stderr=file) as process:
        try:
            yield process, said
        finally:
            process.kill()


@contextmanager
def node(folder: Path, address: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A node of one core that has joined the cluster; two at once would take the same name for a socket."""
    ray = str(Path(sys.executable).with_name("ray"))
    options = [f"--address={address}", "--num-cpus=1", f"--object-store-memory={100 << 20}", "--disable-usage-stats"]
    command = [ray, "start", "--block", *options]
    known = nodes_in(folder)
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: nodes_in(folder) > known, process)
            yield process
        finally:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it has started, as when a machine is lost."""
    parents = {int(path.parent.name): int(path.read_text().rpartition(")")[2].split()[1]) for path in stats()}
    family = {process.pid}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def parts(store: ObjectStore) -> int:
    return store.count("PUT", "/samples/part-")


def until(happened: Callable[[], bool], running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600
    while not happened():
        assert running.poll() is None, "it has ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)
