"""The maps of saved samples where swaps decide: they are drawn after the evaluation, and show without deciding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rate.engine.job import Job
from rate.engine.outcome import Runner
from rate.runs.maps import DrawnMaps


@dataclass(frozen=True, slots=True)
class Drawing:
    """The progress of the drawing of maps."""

    samples: int  # number of samples whose maps are drawn in this session
    done: int = 0
    failed: int = 0  # number of those that could not be drawn
    why: str = ""  # the first reason

    @property
    def notice(self) -> str:
        """What is to be said of samples that could not be drawn; empty if there are none."""
        return f"{self.failed} of {self.samples} images have no map, such as: {self.why}" if self.failed else ""


def draw_maps(job: Job, runner: Runner, maps: DrawnMaps, observe: Callable[[Drawing], None]) -> None:
    """Draw the wanted maps that a finished run of ``job`` lacks; a sample that cannot be drawn stays without.

    Args:
        job: the job of the run.
        runner: its runner, whose open model draws.
        maps: the maps of the run.
        observe: receives the progress.

    Raises:
        BackendError: the runtime failed; the maps so far are kept.
        StorageError: the maps could not be written.
    """
    if not (missing := maps.missing()):
        return
    chosen = tuple(sample for sample in job.samples if sample.id in missing)
    drawing = Drawing(len(chosen))
    observe(drawing)
    for done in runner.run(job.of_map, chosen):
        maps.add(saved for one in done.records for saved in one.maps)
        errors = [one.error for one in done.records if one.error is not None]
        drawing = replace(
            drawing,
            done=drawing.done + len(done.records),
            failed=drawing.failed + len(errors),
            why=drawing.why or next(iter(errors), ""),
        )
        observe(drawing)
