"""What `rate eval --corrupt` does where more than one run is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rate.errors import ConfigError, TooManyErrors

if TYPE_CHECKING:
    from rate.artifacts.artifact import Artifact
    from rate.engine.job import Job
    from rate.engine.pipeline import Progress
    from rate.studies.corruption_grid import Grid

Corruptions = tuple[str | None, ...]


def corruptions_of(text: str | None, severities: str | None) -> Corruptions:
    """The corruptions of a grid; none for one run, which TYPE:SEVERITY alone or nothing at all is.

    Raises:
        ConfigError: no such corruption, or severities without one.
    """
    if text is None or _is_one(text):
        if severities is not None:
            raise ConfigError(f"--severities {severities}: nothing to choose them for; add --corrupt fog, or all")
        return ()
    from rate.data.images.corrupt import SEVERITIES, parse_grid

    return parse_grid(text, SEVERITIES if severities is None else _numbers(severities))


def run_grid(artifact: Artifact, job: Job, out: Path, corruptions: Corruptions) -> Grid:
    """Evaluate every corruption, the model kept open, and say how far it is.

    Raises:
        TooManyErrors: a run has more of them than are allowed.
    """
    from rate.cli.console import Steps, notice
    from rate.engine.workers.launch import means
    from rate.studies.corruption_grid import evaluate_grid, folder_of

    for text in job.notices:
        notice(text)
    each = len(job.samples)
    with means(artifact, job, notice) as (spec, carry_out), Steps("eval", each * len(corruptions)) as steps:

        def observe(number: int, now: Progress) -> None:
            steps.show(each * number + now.stored + now.done, folder_of(corruptions[number]))

        try:
            return evaluate_grid(job, spec, out, corruptions, carry_out, observe)
        except KeyboardInterrupt:
            notice(f"\ninterrupted; what is done is kept in {out}: run the same command again to go on")
            raise


def check_grid_errors(job: Job, grid: Grid) -> None:
    """Refuse a grid in which a run has too many failed samples.

    Raises:
        TooManyErrors: names the runs.
    """
    failed = {
        cell.folder.name: (head["errors"], head["n"])
        for cell in grid.cells
        for head in cell.heads.values()
        if head["errors"] > job.execution.errors_allowed(head["n"])
    }
    if failed:
        named = ", ".join(f"{errors} of {n} in {name}" for name, (errors, n) in failed.items())
        raise TooManyErrors(
            f"samples failed: {named}; --max-errors allows {job.execution.max_errors:g} a run; "
            f"the rows with their errors are in {grid.folder}"
        )


def _is_one(text: str) -> bool:
    return "," not in text and ":" in text and not text.startswith("all:")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--severities must be numbers from 1 to 5 with commas between them, got {text!r}") from None
