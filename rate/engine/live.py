"""A PyTorch module in memory as the model of an evaluation, such as one that is being trained.

What is evaluated is a copy of the module as it is now, in eval mode and f32, with a backend of its own. The module
keeps its mode, device, gradients and caches, and no generator of random numbers is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from rate.artifacts.folders import canonical
from rate.artifacts.records import HeadInfo
from rate.artifacts.weights import state_digest
from rate.backends.torch import TorchSpec
from rate.data.images.geometry import Geometry
from rate.engine.engine import InProcess
from rate.engine.job import Job
from rate.engine.outcome import Runner
from rate.errors import UsageError
from rate.execution import Execution
from rate.export.options import ExportOptions
from rate.export.sources.in_memory import Description, open_module
from rate.export.sources.source_model import SourceModel
from rate.kernels.separable import rise
from rate.records import plain

if TYPE_CHECKING:
    from torch import nn

    from rate.config import Measurement
    from rate.engine.choose_backend import Say


@dataclass(frozen=True)
class LiveModel:
    """A module as it was when this was made; a `rate.engine.job.Evaluable`."""

    model: SourceModel
    device: str  # torch's name of the device that the module is on
    patches: None = None  # it has no token form

    @classmethod
    def of(cls, module: nn.Module, told: Description, options: ExportOptions) -> LiveModel:
        """Copy a module and describe it; see `open_module`."""
        model = open_module(module, told, options)
        return cls(model, next((str(value.device) for value in module.parameters()), "cpu"))

    @property
    def heads(self) -> tuple[HeadInfo, ...]:
        """The heads."""
        return self.model.infos

    @property
    def geometry(self) -> Geometry:
        """The geometry from an image to its pixels."""
        return self.model.geometry

    @property
    def named(self) -> str:
        """The name of the class of the module."""
        return self.model.source

    @cached_property
    def digest(self) -> str:
        """The sha256 of weights of tower and heads, geometry and classes; the code of a module is not in it."""
        states = [self.model.tower.state_dict(), *(head.module.state_dict() for head in self.model.heads)]
        content = {"weights": [state_digest(one) for one in states], "input": self.geometry, "heads": self.heads}
        return hashlib.sha256(canonical(plain(content))).hexdigest()

    def check(self, measurement: Measurement) -> None:
        """Refuse a method that needs more than the logits of masked images.

        Raises:
            UsageError: names the method.
        """
        if measurement.form != "pixels" or measurement.method.runner is not None:
            raise UsageError(
                f"saliency {measurement.saliency} needs an exported model; use rise, occlusion or swaps, or rate.export"
            )

    def execution(self, asked: Execution) -> Execution:
        """Return the settings of this process, on the device of the module if ``asked`` does not name one.

        Raises:
            UsageError: another runtime, another precision or several workers are asked for.
        """
        if asked.runtime not in ("auto", "torch", "torch-cuda") or asked.precision not in ("auto", "f32"):
            raise UsageError(
                f"a module in memory is evaluated by torch in f32, not by {asked.backend} in {asked.precision}; leave "
                "backend and precision out, or rate.export it"
            )
        if asked.workers > 1 or asked.runner != "local" or len(asked.gpus) > 1:
            raise UsageError("a module in memory is evaluated in this process alone; leave workers and runner out")
        own = self.device if self.device.startswith("cuda") else "cpu"
        return replace(asked, device=own) if asked.device == "auto" else asked

    @contextmanager
    def open_runner(self, job: Job, say: Say) -> Iterator[Runner]:
        """Put the copy on the device, with the perturbation in front of it."""
        from rate.export.graph.perturbed import Perturbed

        model, device = self.model, job.execution.device
        module = Perturbed(model.tower, [head.module for head in model.heads])
        names, threads = tuple(head.name for head in model.heads), job.execution.threads
        spec = TorchSpec(lambda: module, names, self.geometry.size, device=device, threads=threads)
        with spec.open(rise(self.geometry.size, 2), 1) as backend:
            yield InProcess(backend, say)
