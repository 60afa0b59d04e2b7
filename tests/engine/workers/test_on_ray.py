"""A real Ray of this machine: the rows of the local runner, whichever actor or driver dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from function_models import KILL, SEEN, deadly, evaluate, job, light
from test_pool import DRIVER, rows_of, run_and_kill

from rate.backends.fake import FakeSpec
from rate.engine.open_runner import divided
from rate.engine.workers.on_ray import Needs, check_feasible, largest
from rate.engine.workers.ray_cluster import ADDRESS, address_of, connected
from rate.errors import ConfigError, UsageError
from rate.execution import Execution
from rate.runs.run_document import read_run

if find_spec("ray") is None:  # imported here, it would ask for no token
    pytest.skip("Ray is not installed: nothing of the cluster runner is tested", allow_module_level=True)


def on_ray(manifest: Path, out: Path, spec: FakeSpec) -> None:
    evaluate(job(manifest, workers=2, runner="ray"), spec, out)


@pytest.mark.slow
def test_actors_and_drivers_that_are_killed_lose_nothing(
    image_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, out = image_set(200), tmp_path / "run"
    evaluate(job(manifest), FakeSpec(light), tmp_path / "alone")
    run_and_kill(manifest, out, "ray", 1)
    before = {row["id"] for row in rows_of(out)}
    assert before
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    monkeypatch.setenv(KILL, str(deaths))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )
    for name in ("once", "twice"):
        (deaths / name).touch()
    on_ray(manifest, out, FakeSpec(deadly))
    assert not list(deaths.iterdir()), "the actors were to die"
    assert rows_of(out) == rows_of(tmp_path / "alone")
    run = read_run(out)
    assert run.status == "complete"
    assert run.sessions[-1].samples == 200 - len(before), "what was stored stays"
    assert not sys.modules["ray"].is_initialized()


def test_the_embedded_one_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens on loopback, asks for a token, and refuses a worker for which this machine is too small."""
    monkeypatch.delenv(ADDRESS, raising=False)
    with connected(None) as (found, joined):
        assert not joined
        assert [node["NodeManagerAddress"] for node in found.nodes()] == ["127.0.0.1"]
        sockets = list(listening(os.getpid()))
        assert len(sockets) >= 3, "those of Ray are found"
        assert {address for address in sockets if not address.is_loopback} == set()
        assert os.environ["RAY_AUTH_MODE"] == "token"
        refused = r"a worker needs 1000 CPU, and no node has that; the largest of 1 has \d+ CPU and .* GiB of memory"
        with pytest.raises(UsageError, match=refused):
            check_feasible(found, Needs(1000), joined)


def listening(owner: int) -> Iterator[IPv4Address | IPv6Address]:
    """Addresses that a process and those it has started listen on for TCP."""
    parents = {int(path.parent.name): int(path.read_text().rpartition(")")[2].split()[1]) for path in stats()}
    family = {owner}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    inodes = set()
    for pid in family:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in inodes:
                words = bytes.fromhex(columns[1].partition(":")[0])
                yield unmapped(b"".join(words[k : k + 4][::-1] for k in range(0, len(words), 4)))


def unmapped(packed: bytes) -> IPv4Address | IPv6Address:
    address = ip_address(packed)
    return getattr(address, "ipv4_mapped", None) or address


def stats() -> Iterator[Path]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            path.read_text()
            yield path


@pytest.mark.slow
def test_a_signal_ends_the_command_with_its_own_code_and_its_own_lines(trained, tmp_path: Path) -> None:
    """Ray has a handler of its own for SIGTERM, and prints of lost workers."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "rate", "eval", str(trained.artifact), str(trained.manifest), "--split", "test"]
    command += ["--masks", "100000", "--out", str(out), "--runner", "ray", "--workers", "1", "--log-json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ended:
        while not (out / "run.json").exists():
            assert ended.poll() is None
            time.sleep(0.1)
        ended.send_signal(signal.SIGTERM)
        shown, said = ended.communicate(timeout=60)
    assert ended.returncode == 130, said
    assert not shown
    assert [json.loads(line)["message"] for line in said.splitlines()][-1] == "interrupted"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_head_that_is_lost_ends_the_command_with_its_code(trained, tmp_path: Path) -> None:
    """Ray itself would end the process with code 1 after 60 seconds."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "rate", "eval", str(trained.artifact), str(trained.manifest), "--split", "test"]
    command += ["--masks", "100000", "--out", str(out), "--workers", "1", "--threads", "1", "--runner"]
    with (
        tempfile.TemporaryDirectory(prefix="r") as folder,
        foreign_head(Path(folder), tmp_path) as (address, environment),
        subprocess.Popen([*command, f"ray:{address}"], env=environment, stderr=subprocess.PIPE, text=True) as ended,
    ):
        while not (out / "run.json").exists():
            assert ended.poll() is None
            time.sleep(0.1)
        [head] = [path.parent for path in stats() if is_named(path.parent, "gcs_server", folder)]
        os.kill(int(head.name), signal.SIGKILL)
        _, said = ended.communicate(timeout=200)
    assert ended.returncode == 4, said
    assert "the head of the Ray cluster at " in said
    assert "run the same command again" in said


@pytest.mark.slow
def test_a_foreign_cluster_is_joined_when_it_is_named_and_left_alone_otherwise(image_set, tmp_path: Path) -> None:
    manifest, seen = image_set(12), tmp_path / "seen"
    seen.mkdir()
    evaluate(job(manifest), FakeSpec(light), tmp_path / "alone")
    # A folder with a short name: Ray puts sockets there.
    with tempfile.TemporaryDirectory(prefix="r") as folder, foreign_head(Path(folder), seen) as (address, environment):
        [raylet] = [path.parent.name for path in stats() if is_named(path.parent, "raylet", folder)]
        for name, runner, joins in (("private", "ray", False), ("joined", f"ray:{address}", True)):
            drive(manifest, tmp_path / name, runner, environment)
            assert rows_of(tmp_path / name) == rows_of(tmp_path / "alone")
            assert (seen / f"child-of-{raylet}").exists() == joins
        assert {path.name for path in seen.iterdir()} - {f"child-of-{raylet}"}, (
            "the private one has a raylet of its own"
        )


def is_named(process: Path, name: str, folder: str) -> bool:
    with suppress(OSError):
        return folder in (process / "cmdline").read_text() and (process / "comm").read_text().strip() == name
    return False


def nodes_in(folder: Path) -> int:
    """The number of raylets that have a socket in the folder of a cluster of this machine."""
    return len(list(folder.glob("session_2*/sockets/raylet*")))


@contextmanager
def foreign_head(folder: Path, seen: Path, cpus: int = 2) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a cluster that somebody else has started, and the environment that it was started in."""
    paths = [str(Path(__file__).parents[k]) for k in (2, 3)] + [os.environ.get("PYTHONPATH", "")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_raylet_start_wait_time_s": "300", "RAY_worker_niceness": "0"}  # on a busy machine
    environment |= {"RAY_AUTH_MODE": "disabled", SEEN: str(seen), "PYTHONPATH": os.pathsep.join(paths)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
    options = ["--node-ip-address=127.0.0.1", f"--port={address.partition(':')[2]}", f"--num-cpus={cpus}"]
    options += ["--include-dashboard=false", f"--temp-dir={folder}", f"--object-store-memory={100 << 20}"]
    with subprocess.Popen([*command, *options], env=environment, stdout=subprocess.DEVNULL) as head:
        try:
            deadline = time.monotonic() + 120
            while not nodes_in(folder):
                assert head.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield address, environment
        finally:
            head.terminate()  # it ends what it has started


def drive(manifest: Path, out: Path, runner: str, environment: dict[str, str]) -> None:
    """A run in a process of its own: Ray reads its environment once."""
    script = out.parent / "placed.py"
    script.write_text(DRIVER.replace("light", "placed"))
    command = [sys.executable, str(script), str(manifest), str(out), runner]
    subprocess.run(command, env=environment, check=True, timeout=200)


def test_a_cluster_that_is_not_there_is_named_with_the_cure() -> None:
    with (
        pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:1.*ray start --head"),
        divided(Execution(runner="ray:127.0.0.1:1")),
    ):
        pass


@pytest.mark.parametrize(
    ("node", "needs", "places"),
    [
        ({"CPU": 8.0}, Needs(2), 4),
        ({"CPU": 9.0, "GPU": 2.0}, Needs(1, 1), 2),
        ({"CPU": 1.0}, Needs(2), 0),
        ({"CPU": 8.0, "memory": 5.0 * 2**30}, Needs(1, memory=2 << 30), 2),
    ],
)
def test_a_node_holds_as_many_workers_as_its_scarcest_resource_allows(node: dict, needs: Needs, places: int) -> None:
    assert needs.places_on(node) == places


def test_the_largest_node_is_the_one_that_comes_nearest_to_a_worker() -> None:
    few, many, gpu = {"CPU": 2.0}, {"CPU": 16.0}, {"CPU": 4.0, "GPU": 1.0}
    assert largest([few, many, gpu], Needs(32)) is many
    assert largest([few, many, gpu], Needs(8, 1)) is gpu


@pytest.mark.parametrize(
    ("runner", "variable", "address"),
    [
        ("ray", None, None),
        ("ray", "head:6379", "head:6379"),
        ("ray:auto", "head:6379", "auto"),
        ("ray:10.0.0.5:6379", "head:6379", "10.0.0.5:6379"),
    ],
)
def test_a_cluster_is_named_by_the_setting_or_by_the_variable(
    runner: str, variable: str | None, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    if variable is not None:
        monkeypatch.setenv(ADDRESS, variable)
    assert address_of(Execution(runner=runner).runner) == address


def test_an_address_of_rays_client_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"ray://head:10001 is an address of Ray's client.*give ray:HOST:PORT"):
        Execution(runner="ray://head:10001")
    monkeypatch.setenv(ADDRESS, "http://head:8265")
    with pytest.raises(UsageError, match=r"RAY_ADDRESS is http://head:8265.*ray job submit"):
        address_of("ray")
