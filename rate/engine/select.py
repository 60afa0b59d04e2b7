"""Which runtime carries an artifact out."""

from __future__ import annotations

from rate.backends.base import BackendSpec
from rate.config import Execution
from rate.export.artifact import Artifact


def spec_for(artifact: Artifact, execution: Execution) -> BackendSpec:
    """The backend that ``execution`` asks for; ``auto`` is ONNX Runtime, the one that runs every artifact."""
    from rate.backends.onnxruntime import OrtSpec

    return OrtSpec(artifact.graph(), threads=execution.threads)
