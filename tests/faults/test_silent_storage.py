"""A storage that takes the connection and never says a word does not keep a command that was told to end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from eval_command import arguments

from rate.errors import EXIT_INTERRUPTED

ENDS_S = 3.0


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def url_of(server: socket.socket) -> str:
    return f"ftp://127.0.0.1:{server.getsockname()[1]}"


def remote(manifest: Path, url: str) -> Path:
    lines = manifest.read_text().splitlines()
    lines[3:] = [line.replace(",", f",{url}/", 1) for line in lines[3:]]
    (manifest.parent / "remote.csv").write_text("\n".join(lines) + "\n")
    return manifest.parent / "remote.csv"


def ended_in(command: list[str], server: socket.socket) -> tuple[float, int, str]:
    """Seconds from Ctrl-C, sent while the command waits for the server, to its end; its exit code and stderr."""
    process = subprocess.Popen([sys.executable, "-m", "rate", *command], stderr=subprocess.PIPE, text=True)
    try:
        connection, _ = server.accept()
        with connection:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=300)
            return time.monotonic() - began, process.returncode, said
    finally:
        process.kill()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_evaluation_ends(trained, tmp_path: Path, silent: socket.socket, workers: str) -> None:
    manifest = remote(trained.manifest, url_of(silent))
    command = arguments(trained, tmp_path / "run", "--workers", workers, manifest=manifest)
    seconds, code, said = ended_in(command, silent)
    assert code == EXIT_INTERRUPTED, said
    assert seconds < ENDS_S


@pytest.mark.parametrize("kind", ["images", "a shard"])
def test_a_check_ends(image_set, silent: socket.socket, kind: str) -> None:
    data = str(remote(image_set(8), url_of(silent))) if kind == "images" else f"{url_of(silent)}/set.tar"
    seconds, code, said = ended_in(["data", "check", data], silent)
    assert code == EXIT_INTERRUPTED, said
    assert seconds < ENDS_S
