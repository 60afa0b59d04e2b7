"""A curve: a folder of runs of the models between two models; see `rate.export.sources.families.wise`.

    CURVE/alpha-0.25/            a run
    CURVE/artifacts/alpha-0.25/  the artifact that it evaluates
    CURVE/wise.json              the numbers of all of them, written last

Every run is complete and can be compared, reported and gated by itself. The contents of a curve are read from its runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rate.errors import RunError
from rate.records import Document, Record, RunStatus, Share, record
from rate.runs.run_document import RunDocument, read_run
from rate.studies.corruption_grid import CellHead, heads_of

WISE = "wise.json"
ARTIFACTS = "artifacts"
_RUN = "alpha-"


class PointRecord(Record, frozen=True):
    """A run of a curve."""

    run: str  # the name of its folder
    alpha: Share  # 0: the first model, 1: the second
    status: RunStatus
    heads: dict[str, CellHead]


class CurveDocument(Document, frozen=True, tag="rate.wise/1"):
    """wise.json."""

    status: Literal["complete", "partial"]
    runs: tuple[PointRecord, ...]  # by alpha


@dataclass(frozen=True, slots=True)
class Curve:
    """The results over the weights between two models."""

    folder: Path
    points: tuple[PointRecord, ...]

    @property
    def document(self) -> CurveDocument:
        """The content of wise.json."""
        whole = all(point.status == "complete" for point in self.points)
        return CurveDocument("complete" if whole else "partial", self.points)


def folder_of(alpha: float) -> str:
    """Return the name of a run in its curve."""
    return f"{_RUN}{alpha:g}"


def is_curve(folder: Path) -> bool:
    """Tell whether ``folder`` holds runs of a curve."""
    return any(folder.glob(f"{_RUN}*/run.json"))


def load_curve(folder: Path) -> Curve:
    """Read the runs of a curve, finished or not.

    Raises:
        RunError: a run is damaged, is of no alpha, or differs from the others in more than its weights.
    """
    runs = curve_runs(folder)
    (first, expected), *others = [(path.name, _settings(run)) for path, run in runs]
    for name, settings in others:
        if unlike := [key for key, value in settings.items() if value != expected[key]]:
            raise RunError(
                f"{folder} holds runs of different settings: {first} and {name} differ in {', '.join(unlike)}; keep "
                "each curve in a folder of its own"
            )
    points = (
        PointRecord(
            path.name,
            _alpha(path),
            run.status,
            {name: record(CellHead, head) for name, head in heads_of(path, run).items()},
        )
        for path, run in runs
    )
    return Curve(folder, tuple(sorted(points, key=lambda point: point.alpha)))


def curve_runs(folder: Path) -> list[tuple[Path, RunDocument]]:
    """Return the runs of a curve with their folders.

    Raises:
        RunError: one is damaged.
    """
    return [(path.parent, read_run(path.parent)) for path in sorted(folder.glob(f"{_RUN}*/run.json"))]


def _alpha(path: Path) -> float:
    try:
        return float(path.name.removeprefix(_RUN))
    except ValueError:
        raise RunError(f"{path} is no run of a curve: they are called alpha-0.25 and the like; move it") from None


def _settings(run: RunDocument) -> dict[str, object]:
    return {
        "measurement": run.measurement,
        "heads": [head.name for head in run.heads],
        "data": (run.identity.data, run.identity.bank),
        "pixels": (run.identity.geometry, run.identity.pixel_path),
    }
