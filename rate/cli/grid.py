"""`rate eval --corrupt` with several corruptions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rate.errors import ConfigError

if TYPE_CHECKING:
    from rate.artifacts.artifact import Artifact
    from rate.engine.evaluate import Progress
    from rate.engine.job import Job
    from rate.studies.corruption_grid import Grid

Corruptions = tuple[str | None, ...]


def corruptions_of(text: str | None, severities: str | None) -> Corruptions:
    """Parse the corruptions of a grid; the result is empty for a single run, that is, TYPE:SEVERITY alone or nothing.

    Raises:
        ConfigError: the corruption is unknown, or there are severities without one.
    """
    if text is None or _is_one(text):
        if severities is not None:
            raise ConfigError(f"--severities {severities}: nothing to choose them for; add --corrupt fog, or all")
        return ()
    from rate.data.images.corrupt import SEVERITIES, parse_grid

    return parse_grid(text, SEVERITIES if severities is None else _numbers(severities))


def run_grid(artifact: Artifact, job: Job, out: Path, corruptions: Corruptions) -> Grid:
    """Evaluate every corruption with one open model, and show the progress.

    Raises:
        TooManyErrors: a run has more errors than are allowed.
    """
    from rate.cli.console import Steps, notice
    from rate.engine.open_runner import open_runner
    from rate.studies.corruption_grid import evaluate_grid, folder_of

    for text in job.notices:
        notice(text)
    each = len(job.samples)
    with open_runner(artifact, job, notice) as runner, Steps("eval", each * len(corruptions)) as steps:

        def observe(number: int, now: Progress) -> None:
            steps.show(each * number + now.stored + now.done, folder_of(corruptions[number]))

        try:
            return evaluate_grid(job, runner, out, corruptions, observe)
        except KeyboardInterrupt:
            notice(f"\ninterrupted; what is done is kept in {out}: run the same command again to go on")
            raise


def _is_one(text: str) -> bool:
    return "," not in text and ":" in text and not text.startswith("all:")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--severities must be numbers from 1 to 5 with commas between them, got {text!r}") from None
