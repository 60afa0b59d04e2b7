"""OpenVINO on the CPU in f32, in bf16 if the CPU computes in it, and in int8; batches overlap on two streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rate.backends.base import Backend, Graph, IdleClock, Logits, Pending, runtime_failure
from rate.backends.batches import HostBackend, check_rows, row_feeds
from rate.backends.process import usable_cores
from rate.backends.tokens import SplitPending, split
from rate.errors import BackendError, MissingExtra, UsageError, need
from rate.kernels.separable import Perturbation
from rate.types import Rows


@dataclass(frozen=True, slots=True)
class OpenVinoSpec:
    """An f32 or int8 graph on OpenVINO's CPU plugin."""

    graph: Graph
    precision: str = "f32"  # precision of the arithmetic: f32 | bf16 | int8, which the graph must have
    threads: int = 0  # 0 = all cores that this process may use
    name: str = "openvino"

    def __post_init__(self) -> None:
        if (self.precision == "int8") != (self.graph.precision == "int8"):
            raise UsageError(
                f"{self.graph.path} is a {self.graph.precision} graph and cannot be computed in {self.precision}; "
                "an artifact exported with --precision int8 holds one of each"
            )

    @contextmanager
    def open(self, perturbation: Perturbation, slots: int) -> Iterator[Backend]:
        """Compile the graph with an explicit precision, since the plugin's own default is bf16 on CPUs that have it."""
        openvino = need("openvino", "cpu")
        core = openvino.Core()
        if self.precision == "bf16" and not _has_bf16(core):
            raise BackendError("this CPU does not compute in the requested bf16; use --precision f32 or --backend auto")
        threads = self.threads or usable_cores()
        streams = min(2, threads)
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(threads),
            "ENABLE_CPU_PINNING": False,  # cores may be shared with decoding and with other processes
        }
        try:
            compiled = core.compile_model(str(self.graph.path), "CPU", options)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot load {self.graph.path}: {error}") from error
        version = str(openvino.get_version()).partition("-")[0]
        backend = OpenVinoBackend(compiled, self, streams, version)
        backend.bind(perturbation, slots)
        yield backend


def cpu_has_bf16() -> bool:
    """Tell whether OpenVINO is installed and its CPU plugin computes in bf16 natively."""
    try:
        core = need("openvino", "cpu").Core()
    except MissingExtra:
        return False
    return _has_bf16(core)


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoBackend(HostBackend):
    """An open `OpenVinoSpec` with one request more than streams, used in turn."""

    def __init__(self, compiled: Any, spec: OpenVinoSpec, streams: int, version: str) -> None:
        super().__init__(spec.graph)
        self.name, self.precision, self.device, self.version = spec.name, spec.precision, "cpu", version
        self.depth = streams + 1  # one request waits, so that no stream idles while its last batch is folded
        self._requests = [compiled.create_infer_request() for _ in range(self.depth)]
        self._turn = 0
        self._aside = compiled.create_infer_request()  # for rows whose logits are needed at once
        self._clock = clock = IdleClock()
        for request in (*self._requests, self._aside):
            # Of the clock alone: a request that holds the backend would keep the model in memory for ever.
            request.set_callback(lambda _: clock.end(), None)

    def submit(self, rows: Rows) -> Pending:
        """Start a batch on the next request, whose last batch must be done."""
        check_rows(rows, self._perturbation, self._slots)
        request = self._requests[self._turn]
        self._turn = (self._turn + 1) % len(self._requests)
        if not self._tokens:
            return self._start(request, row_feeds(rows))
        *few, most = split(rows, pad=self.precision != "f32")
        done = [(part, self._start(self._aside, part.feeds).wait()) for part in few]
        return SplitPending(len(rows), done, most, self._start(request, most.feeds))

    def _start(self, request: Any, inputs: dict[str, np.ndarray]) -> OpenVinoPending:
        feeds, idle_s = self._resident | inputs, self._clock.begin()
        try:
            request.start_async(feeds, share_inputs=True)
        except RuntimeError as error:
            self._clock.end()
            raise BackendError(f"OpenVINO refused a batch of {len(inputs['slot'])} rows: {error}") from error
        return OpenVinoPending(request, self._heads, feeds, idle_s)


@dataclass(frozen=True, slots=True)
class OpenVinoPending:
    """A batch in flight. It keeps a reference to its inputs, which the request shares."""

    request: Any
    heads: tuple[str, ...]
    feeds: dict[str, np.ndarray]
    idle_s: float

    def wait(self) -> Logits:
        """Wait and copy the logits out of the request."""
        try:
            self.request.wait()
        except RuntimeError as error:
            raise runtime_failure("OpenVINO failed in a batch", error) from error
        return {head: np.array(self.request.get_tensor(f"logits_{head}").data) for head in self.heads}
