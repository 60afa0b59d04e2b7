"""A real Ray of this machine: the rows of the local runner, whichever actor or driver dies."""

from __future__ import annotations

import os
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
from rate.engine.workers.on_ray import Needs, connected, workers_that_fit
from rate.errors import UsageError
from rate.execution import Execution
from rate.runs.run_document import read_run

if find_spec("ray") is None:  # imported here, it would ask for no token
    pytest.skip("Ray is not installed: nothing of the cluster runner is tested", allow_module_level=True)


def on_ray(manifest: Path, out: Path, spec: FakeSpec) -> None:
    evaluate(job(manifest, workers=2, runner="ray"), spec, out)


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
    """It listens on loopback, asks for a token, and joins no cluster that only the environment names."""
    monkeypatch.setenv("RAY_ADDRESS", "203.0.113.7:6379")
    said: list[str] = []
    with connected(None, said.append) as found:
        assert [node["NodeManagerAddress"] for node in found.nodes()] == ["127.0.0.1"]
        sockets = list(listening(os.getpid()))
        assert len(sockets) >= 3, "those of Ray are found"
        assert {address for address in sockets if not address.is_loopback} == set()
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert "RAY_ADDRESS" not in os.environ
    assert os.environ["RAY_ADDRESS"] == "203.0.113.7:6379"
    assert "--runner ray://203.0.113.7:6379" in said[0]


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
def test_a_foreign_cluster_is_joined_when_it_is_named_and_left_alone_otherwise(image_set, tmp_path: Path) -> None:
    manifest, seen = image_set(12), tmp_path / "seen"
    seen.mkdir()
    evaluate(job(manifest), FakeSpec(light), tmp_path / "alone")
    # A folder with a short name: Ray puts sockets there.
    with tempfile.TemporaryDirectory(prefix="r") as folder, foreign_head(Path(folder), seen) as (address, environment):
        [raylet] = [path.parent.name for path in stats() if is_raylet(path.parent, folder)]
        for name, runner, joins in (("private", "ray", False), ("joined", f"ray://{address}", True)):
            drive(manifest, tmp_path / name, runner, environment)
            assert rows_of(tmp_path / name) == rows_of(tmp_path / "alone")
            assert (seen / f"child-of-{raylet}").exists() == joins
        assert {path.name for path in seen.iterdir()} - {f"child-of-{raylet}"}, (
            "the private one has a raylet of its own"
        )


def is_raylet(process: Path, folder: str) -> bool:
    with suppress(OSError):
        return folder in (process / "cmdline").read_text() and (process / "comm").read_text().strip() == "raylet"
    return False


@contextmanager
def foreign_head(folder: Path, seen: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a cluster that somebody else has started, and the environment that it was started in."""
    paths = [str(Path(__file__).parents[k]) for k in (2, 3)] + [os.environ.get("PYTHONPATH", "")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "disabled", SEEN: str(seen), "PYTHONPATH": os.pathsep.join(paths)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
    options = ["--node-ip-address=127.0.0.1", f"--port={address.partition(':')[2]}", "--num-cpus=2"]
    options += ["--include-dashboard=false", f"--temp-dir={folder}", f"--object-store-memory={100 << 20}"]
    with subprocess.Popen([*command, *options], env=environment, stdout=subprocess.DEVNULL) as head:
        try:
            deadline = time.monotonic() + 120
            while not list(folder.glob("session_2*/sockets/raylet")):
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
        divided(Execution(runner="ray://127.0.0.1:1")),
    ):
        pass


@pytest.mark.parametrize(
    ("resources", "needs", "fitting"),
    [({"CPU": 8.0}, Needs(2), 4), ({"CPU": 9.0, "GPU": 2.0}, Needs(1, 1), 2), ({"CPU": 1.0}, Needs(1), 1)],
)
def test_as_many_workers_as_the_scarcest_resource_allows(resources: dict, needs: Needs, fitting: int) -> None:
    assert workers_that_fit(resources, needs) == fitting


def test_a_worker_that_fits_nowhere_is_refused_and_not_waited_for() -> None:
    with pytest.raises(UsageError, match=r"needs \{'CPU': 4\} and the whole cluster has .*fewer --threads"):
        workers_that_fit({"CPU": 2.0}, Needs(4))
