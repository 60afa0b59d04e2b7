"""The connection to Ray: a private one of this machine, or a cluster that runs already."""

from __future__ import annotations

import importlib
import io
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from types import ModuleType
from typing import Any

from rate.backends.process import usable_cores
from rate.engine.choose_backend import Say
from rate.errors import UsageError, need

OBJECT_STORE_BYTES = 100 << 20
"""The object store of the private Ray, bytes; it holds very little."""

ANSWER_S = 10.0
"""The time limit for the address of a cluster to answer, seconds."""

ADDRESS = "RAY_ADDRESS"
"""The variable by which Ray names a cluster, as inside of a Ray job."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it prints the stack of a process that is asked to stop, and aborts it
}

PATIENCE = ("RAY_gcs_rpc_server_reconnect_timeout_s", "3600")
"""Ray ends a process that its cluster's head has not answered for 60 seconds; here the run ends, which is resumable."""

_CLUSTERS = "ENABLE_RAY_CLUSTER"

_TOKEN = secrets.token_hex(32)
"""The token with which the private Ray authenticates its clients."""


def address_of(runner: str) -> str | None:
    """Return the address of the cluster that the setting ``runner`` stands for; None = a private Ray.

    Raises:
        UsageError: `ADDRESS` names something that cannot be joined.
    """
    address = runner.partition(":")[2] or os.environ.get(ADDRESS) or None
    if address is not None and "://" in address:
        raise UsageError(
            f"{ADDRESS} is {address}, an address of Ray's client or dashboard, and actors are started from within the "
            f"cluster; set it to HOST:6379 of the head, or submit this command with `ray job submit`"
        )
    return address


@contextmanager
def connected(address: str | None, say: Say = lambda _: None) -> Iterator[tuple[ModuleType, bool]]:
    """Connect to the cluster at ``address``, or without one to a private Ray that ends with the block.

    An existing connection of this process is used and kept. Yields Ray, and whether it is not private.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: the address does not answer.
    """
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    if address is None and ("ray" not in sys.modules or os.environ.get("RAY_AUTH_TOKEN") == _TOKEN):
        # Ray reads this once in a process, when it is imported.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=_TOKEN)
    ray = need("ray", "ray")
    if ray.is_initialized():
        yield ray, True
        return
    with redirect_stdout(_WithoutRay()), ExitStack() as stack:
        stack.enter_context(_own_signals())
        if address is None:
            stack.enter_context(_alone())
            _embed(ray)
        else:
            os.environ.setdefault(*PATIENCE)
            say(f"joining the Ray cluster at {address}; this command, on {socket.gethostname()}, writes the run")
            _join(ray, address)
        logging.getLogger("ray").handlers = [_Logged(say)]
        try:
            yield ray, address is not None
        finally:
            ray.shutdown()


class _WithoutRay(io.TextIOBase):
    """Standard output without what Ray's threads print, such as the last lines of a lost node: it is for results."""

    def __init__(self) -> None:
        self._stream = sys.stdout

    def write(self, text: str) -> int:
        return len(text) if threading.current_thread().name.startswith("ray_") else self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


class _Logged(logging.Handler):
    """Passes records of Ray's logger on to ``say``."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.ERROR)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, if it has one: Ray's would exit with a code of its own."""
    utils: Any = importlib.import_module("ray._private.utils")
    setter = utils.set_sigterm_handler
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = setter


@contextmanager
def _alone() -> Iterator[None]:
    """Keep a Ray that is started in the block on this machine.

    Ray has a switch for nodes whose processes listen on loopback alone, meant for systems without clusters.
    """
    constants = importlib.import_module("ray._private.ray_constants")
    before = getattr(constants, _CLUSTERS)
    setattr(constants, _CLUSTERS, False)
    os.environ[constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    try:
        yield
    finally:
        setattr(constants, _CLUSTERS, before)
        del os.environ[constants.ENABLE_RAY_CLUSTERS_ENV_VAR]


def _embed(ray: ModuleType) -> None:
    # "local" starts a new Ray even if another one runs on this machine.
    ray.init(
        "local",
        num_cpus=usable_cores(),
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )


def _join(ray: ModuleType, address: str) -> None:
    try:
        check_answers(address)
        ray.init(address, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address} ({' '.join(str(error).split())}); start one with "
            "`ray start --head`, or use --runner ray for one of this machine alone"
        ) from error


def check_answers(address: str) -> None:
    """Fail fast if no process listens at HOST:PORT, because `ray.init` retries for minutes.

    Raises:
        OSError: no process listens there.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
