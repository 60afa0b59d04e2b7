"""The facts of a run that are needed to repeat it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rate.credentials import without_credentials
from rate.records import plain
from rate.report.heads import HeadRun
from rate.report.html.sentences import rule_in_words
from rate.runs.failures import Failure
from rate.types import Json


@dataclass(frozen=True, slots=True)
class RunProperty:
    """One property, with its value for every run."""

    name: str
    values: tuple[str, ...]
    code: bool = False  # whether it is a digest or a path, in a fixed-width font


@dataclass(frozen=True, slots=True)
class Failures:
    """The samples of a head without a prediction."""

    head: int
    count: int
    commonest: tuple[Failure, ...]  # reasons
    shown: tuple[tuple[str, str], ...]  # id, message


def runs_of(heads: Sequence[HeadRun]) -> list[HeadRun]:
    """Return one head of every run folder, in order."""
    return list({head.folder.resolve(): head for head in reversed(heads)}.values())[::-1]


def data_name(head: HeadRun) -> str:
    """Return file and folder of the manifest, by which readers identify it."""
    return "/".join(Path(without_credentials(_text(head.run.origin.data))).parts[-2:])


def record(runs: Sequence[HeadRun]) -> list[RunProperty]:
    """List the properties of runs, side by side."""
    columns = [dict(_properties(head)) for head in runs]
    code = {"Run folder", "Data", "Data digest", "Artifact", "Weights digest", "Run key"}
    names = list(dict.fromkeys(name for column in columns for name in column))
    return [RunProperty(name, tuple(column.get(name, "") for column in columns), name in code) for name in names]


def failures(heads: Sequence[HeadRun]) -> list[Failures]:
    """List the errors of every head that has any; samples are in order of id."""
    lists = []
    for position, head in enumerate(heads):
        if count := head.slice.counts.errors:
            lists.append(Failures(position, count, head.summary.failures, tuple(head.sums.failed)))
    return lists


def _properties(head: HeadRun) -> Iterable[tuple[str, str]]:
    run = head.run
    identity, origin, samples = run.identity, run.origin, run.samples
    yield "Run folder", str(head.folder)
    yield "Status", head.status
    yield "Images", f"{head.whole.samples} of {samples.planned} planned, {samples.available} in the data"
    yield "Heads", ", ".join(f"{one.name} ({one.classes} classes)" for one in run.heads)
    yield "Data", _text(origin.data) + (f", split {origin.split}" if origin.split else "")
    yield "Data digest", identity.data
    yield "Artifact", _text(origin.artifact)
    if origin.maps is not None:
        yield "Maps given", origin.maps
        yield "Predictions given", origin.predictions or ""
    yield "Weights digest", identity.weights
    yield "Measured", rule_in_words(head.summary.rule)
    yield "Settings", _pairs(run.measurement)
    yield "Geometry", _pairs(plain(identity.geometry))
    yield "Pixel path", identity.pixel_path
    yield "Backend", f"{identity.backend}, {identity.precision}"
    yield "Execution", _pairs({name: value for name, value in run.execution.items() if name != "maps"})
    if "maps" in run.execution:
        yield "Maps", f"drawn afterwards, deciding nothing: {_pairs(run.execution['maps'])}"
    yield "Throughput", _throughput(head)
    yield "Time", f"{_text(run.started)} to {_text(run.finished)}, sessions: {len(run.sessions)}"
    yield "Versions", _pairs(run.versions)
    yield "Machine", _pairs(run.machine)
    yield "Run key", run.key


def _throughput(head: HeadRun) -> str:
    pace = head.whole.throughput
    if pace.images_per_s is None or pace.forwards_per_s is None:
        return "not known"
    mean = head.summary.forwards_mean
    return (
        f"{pace.images_per_s:,.1f} images/s, {pace.forwards_per_s:,.0f} forwards/s"
        + (f", {mean:,.0f} forwards an image" if mean is not None else "")
        + f", waiting for data {100 * (pace.waiting_for_data or 0):.1f} %"
        + f", device idle {100 * (pace.device_idle or 0):.1f} %"
        + f", batch fill {100 * (pace.batch_fill or 0):.1f} %"
    )


def _pairs(values: Json) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items() if value is not None)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else "not known" if value is None else str(value)
