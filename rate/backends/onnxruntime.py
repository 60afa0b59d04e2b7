"""ONNX Runtime on the CPU in f32, the backend that runs every artifact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rate.backends.base import Backend, Done, Graph, IdleClock, Logits, runtime_failure
from rate.backends.batches import HostBackend, check_rows, row_feeds
from rate.backends.process import usable_cores
from rate.backends.tokens import join, split
from rate.errors import BackendError, UsageError, need
from rate.kernels.separable import Perturbation
from rate.types import Rows

_PROVIDERS = ["CPUExecutionProvider"]
_FATAL_ONLY = 4  # severity of the runtime's own log; its errors arrive as exceptions


@dataclass(frozen=True, slots=True)
class OrtSpec:
    """An f32 graph on the CPU."""

    graph: Graph
    threads: int = 0  # 0 = all cores that this process may use
    name: str = "onnxruntime"
    precision: str = "f32"  # precision of the arithmetic

    def __post_init__(self) -> None:
        if self.graph.precision != self.precision:
            raise UsageError(
                f"{self.graph.path} is a {self.graph.precision} graph; ONNX Runtime on the CPU runs f32 ones"
            )

    @contextmanager
    def open(self, perturbation: Perturbation, slots: int) -> Iterator[Backend]:
        """Load the graph; see `BackendSpec`."""
        try:
            session = open_session(str(self.graph.path), self.threads)
        except RuntimeFailure as error:
            raise BackendError(
                f"ONNX Runtime cannot load {self.graph.path}: {error}; export the artifact again"
            ) from error
        backend = OrtBackend(session, self)
        backend.bind(perturbation, slots)
        yield backend


class RuntimeFailure(Exception):
    """Any exception of ONNX Runtime; its own exception types share no base class."""


def open_session(model: str | bytes, threads: int = 0, folder: Path | None = None) -> Any:
    """Open a session on the CPU that cannot fall back to another provider.

    Args:
        model: the path of the graph, or its bytes.
        threads: threads inside one operator; 0 = all cores that this process may use.
        folder: the folder of the external weights of a graph given as bytes.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
        RuntimeFailure: the graph cannot be loaded.
        BackendError: the session would run on another provider.
    """
    ort = need("onnxruntime", "cpu")
    options = session_options(threads)
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    try:
        session = ort.InferenceSession(model, options, providers=_PROVIDERS)
    except Exception as error:  # its exception types share no base class
        raise RuntimeFailure(str(error)) from error
    session.disable_fallback()
    if session.get_providers() != _PROVIDERS:
        raise BackendError(
            f"ONNX Runtime would run on {session.get_providers()}, asked for {_PROVIDERS}; "
            "install one of onnxruntime and onnxruntime-gpu, never both"
        )
    return session


def session_options(threads: int = 0, precision: str = "f32") -> Any:
    """Make the options of a session for a graph in ``precision``; 0 threads = all cores that this process may use."""
    ort = need("onnxruntime", "cpu")
    options, level = ort.SessionOptions(), ort.GraphOptimizationLevel
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Levels beyond "extended" hold layouts for the CPU alone; on a half graph that step can crash the process.
    options.graph_optimization_level = level.ORT_ENABLE_ALL if precision == "f32" else level.ORT_ENABLE_EXTENDED
    options.log_severity_level = _FATAL_ONLY
    # spinning threads take cores from decoding and from other processes, without a measurable gain
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class OrtBackend(HostBackend):
    """An open `OrtSpec`: `submit` computes, so one batch is in flight at a time."""

    depth = 1

    def __init__(self, session: Any, spec: OrtSpec) -> None:
        super().__init__(spec.graph)
        self.name, self.precision, self.device = spec.name, spec.precision, "cpu"
        self.version = str(need("onnxruntime", "cpu").__version__)
        self._session, self._clock = session, IdleClock()
        self._outputs = [f"logits_{head}" for head in self._heads]

    def submit(self, rows: Rows) -> Done:
        """Compute the logits of ``rows``; see `Backend`."""
        check_rows(rows, self._perturbation, self._slots)
        with self._clock.batch() as idle_s:
            if self._tokens:
                return Done(join(len(rows), [(part, self._run(part.feeds)) for part in split(rows, pad=False)]), idle_s)
            return Done(self._run(row_feeds(rows)), idle_s)

    def _run(self, feeds: dict[str, np.ndarray]) -> Logits:
        try:
            outputs = self._session.run(self._outputs, self._resident | feeds)
        except Exception as error:  # its exception types share no base class
            raise runtime_failure(f"ONNX Runtime failed on a batch of {len(feeds['slot'])} rows", error) from error
        return dict(zip(self._heads, outputs, strict=True))
