"""The numbers that may say how far a model rests on the object: each is one value a model, from the same pictures.

Maps are of RISE, positive evidence, and whatever is averaged over pictures is averaged over the right predictions, as
PT is. Localisation is judged by Quantus' own functions, deletion and insertion by those of
``rate eval --faithfulness``. ``accuracy_broken`` and the worst groups need the split whose shortcut is drawn at random.
"""

from __future__ import annotations

import csv
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rate.artifacts.artifact import Artifact
from rate.config import Measurement
from rate.engine.choose_backend import open_backend
from rate.engine.engine import InProcess
from rate.engine.job import Job
from rate.engine.make_job import job_from_artifact
from rate.engine.outcome import Explainer
from rate.engine.verdicts.verdict import Verdict
from rate.execution import Execution
from rate.kernels.faithfulness import STEPS
from rate.studies.faithfulness import Curves, explained


@dataclass(frozen=True)
class Metric:
    """What a number is called, which measurement it is read from, and which way it points."""

    title: str
    instrument: str  # of `instruments`, or clean
    more: int = 0  # forwards beside those of the instrument
    falls: bool = False  # a model that rests on the object has a small one


METRICS = {
    "accuracy": Metric("accuracy", "clean"),
    "accuracy_broken": Metric("accuracy, shortcut broken", "clean"),
    "worst_of_two": Metric("worst group: shortcut right or wrong", "clean"),
    "worst_of_classes": Metric("worst group: class, shortcut right or wrong", "clean"),
    "share_swaps": Metric("mean share, swaps", "swap"),
    "pt_swaps": Metric("PT, swaps", "swap"),
    "ir_swaps": Metric("IR, swaps", "swap"),
    "gap": Metric("gap: object-only less background-only", "swap"),
    "pt_rise": Metric("PT, RISE", "rise"),
    "pt_rise_paper": Metric("PT, RISE, the paper's rule", "rise"),
    "pt_occlusion": Metric("PT, occlusion", "occlusion"),
    "pt_attention": Metric("PT, attention, the paper's rule", "attention"),
    "mass": Metric("relevance mass accuracy", "rise"),
    "rank": Metric("relevance rank accuracy", "rise"),
    "pointing": Metric("pointing game", "rise"),
    "top_k": Metric("top-k intersection", "rise"),
    "auc": Metric("AUC of localisation", "rise"),
    "deletion": Metric("deletion", "rise", STEPS + 1, falls=True),
    "insertion": Metric("insertion", "rise", STEPS + 1),
}
TOP = 0.02
"""Share of the pixels of the top-k intersection: that of Quantus' usual 1,000 in a picture of 224 x 224."""

FEWEST = 5
"""Pictures of a group that counts for the worst."""

Numbers = dict[str, float | None]


def instruments(masks: int, attention: bool) -> dict[str, Measurement]:
    """The measurements that numbers are read from; ``attention``: whether the tower has any."""
    found = {
        "swap": Measurement(),
        "rise": Measurement(verdict="map", masks=masks),
        "occlusion": Measurement(saliency="occlusion"),
    }
    return found | ({"attention": Measurement(saliency="attention")} if attention else {})


def numbers(artifact: Artifact, data: Path, pictures: int, measurements: dict[str, Measurement]) -> dict[str, Numbers]:
    """Head -> every number of `METRICS` and the forwards of each of `instruments`; None where there is none.

    ``data`` is a folder of `rate.data.make.synth` with at least ``pictures`` in each test split.
    """
    shortcuts = _shortcuts(data / "manifest.csv")
    broken = _verdicts(_job(artifact, data, "test-broken", Measurement(fills=2), pictures), artifact)
    found: dict[str, Numbers] = {head: dict.fromkeys(METRICS) for head in broken}
    for name, measurement in measurements.items():
        job = _job(artifact, data, "test", measurement, pictures)
        for head, verdicts in _verdicts(job, artifact).items():
            right = [one for one in verdicts if one.prediction.correct]
            found[head][f"forwards_{name}"] = mean(one.forwards for one in verdicts)
            found[head][f"pt_{'swaps' if name == 'swap' else name}"] = _valid(right)
            if name == "swap":
                found[head] |= _predictions(verdicts, broken[head], shortcuts) | _swaps(verdicts, right)
            if name == "rise":
                found[head] |= _maps(right) | _curves(job, artifact, right)
    return found


def _shortcuts(manifest: Path) -> dict[str, bool]:
    """Id -> whether the shortcut names the label."""
    with manifest.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["shortcut"] == row["label"] for row in csv.DictReader(file)}


def _job(artifact: Artifact, data: Path, split: str, measurement: Measurement, pictures: int) -> Job:
    execution = Execution(backend="onnxruntime", precision="f32", threads=1, limit=pictures)
    job = job_from_artifact(artifact, data / "manifest.csv", split, measurement, execution)
    return replace(job, shuffled=0.0)  # swaps along the regions of other pictures serve none of these numbers


@contextmanager
def _runner(job: Job, artifact: Artifact) -> Iterator[Explainer]:
    method = job.measurement.method
    if job.measurement.verdict == "map" and method.runner is not None:
        yield method.open_own_runner(artifact, job.execution, False)
    else:
        with open_backend(artifact, job.execution, job.measurement.form) as backend:
            yield InProcess(backend)


def _verdicts(job: Job, artifact: Artifact) -> dict[str, list[Verdict]]:
    """Head -> the verdicts on the pictures of a job."""
    found = defaultdict(list)
    with _runner(job, artifact) as runner:
        for outcome in explained(runner, job):
            for verdict in outcome.verdicts:
                found[verdict.prediction.head].append(verdict)
    return found


def mean(values: Iterable[float]) -> float | None:
    """The mean; None without values."""
    known = list(values)
    return float(np.mean(known)) if known else None


def _valid(verdicts: list[Verdict]) -> float | None:
    return mean(one.valid for one in verdicts if one.valid is not None)


def _predictions(verdicts: list[Verdict], broken: list[Verdict], shortcuts: dict[str, bool]) -> Numbers:
    """Accuracies; groups are of the pictures of both splits, so that those of a wrong shortcut are many enough."""
    two, classes = defaultdict(list), defaultdict(list)
    for one in (*verdicts, *broken):
        agrees = shortcuts[one.sample.id]
        two[agrees].append(one.prediction.correct)
        classes[one.sample.label, agrees].append(one.prediction.correct)
    return {
        "accuracy": mean(one.prediction.correct for one in verdicts),
        "accuracy_broken": mean(one.prediction.correct for one in broken),
        "worst_of_two": _worst(two.values()),
        "worst_of_classes": _worst(classes.values()),
    }


def _worst(groups: Iterable[list[bool]]) -> float | None:
    return min((float(np.mean(group)) for group in groups if len(group) >= FEWEST), default=None)


def _swaps(verdicts: list[Verdict], right: list[Verdict]) -> Numbers:
    alone = [(one.swap.object_only, one.swap.background_only) for one in verdicts if one.swap is not None]
    return {
        "share_swaps": mean(one.swap.share for one in right if one.swap and one.swap.share is not None),
        "ir_swaps": mean(one.prediction.correct for one in verdicts if one.valid),
        "gap": mean(of - without for of, without in alone if of is not None and without is not None),
    }


def _maps(right: list[Verdict]) -> Numbers:
    """PT by the paper's rule, and Quantus' localisation metrics, of the maps that show anything."""
    masses = [one.saliency.mass["minmax"] for one in right]
    shown = [one for one in right if one.saliency.evidence.any() and 0 < one.area < 1]
    maps = np.stack([one.saliency.evidence for one in shown])[:, None]
    regions = np.stack([one.region > 0.5 for one in shown])[:, None]
    return {"pt_rise_paper": mean(mass >= 0.5 for mass in masses if mass is not None)} | {
        name: mean(np.ravel(judge(maps, regions)).tolist()) for name, judge in _quantus(maps[0, 0].size)
    }


def _quantus(pixels: int) -> Iterator[tuple[str, Callable[..., list[float]]]]:
    """Name -> a function of maps [n,1,h,w] and regions [n,1,h,w]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Quantus and of what it imports
        import quantus

        as_is = {"normalise": False, "abs": False, "disable_warnings": True}
        for name, metric in {
            "mass": quantus.RelevanceMassAccuracy(**as_is),
            "rank": quantus.RelevanceRankAccuracy(**as_is),
            "pointing": quantus.PointingGame(**as_is),
            "top_k": quantus.TopKIntersection(k=round(TOP * pixels), **as_is),
            "auc": quantus.AUC(**as_is),
        }.items():
            yield (
                name,
                lambda maps, regions, metric=metric: metric(
                    model=None,
                    x_batch=np.zeros((len(maps), 3, *maps.shape[2:])),
                    y_batch=np.zeros(len(maps), np.int64),
                    a_batch=maps,
                    s_batch=regions,
                ),
            )


def _curves(job: Job, artifact: Artifact, right: list[Verdict]) -> Numbers:
    """Areas under deletion and insertion of the probability of the class."""
    with open_backend(artifact, job.execution) as backend:
        curves = Curves(job, backend)
        areas = [area for one in right if one.saliency.evidence.any() for area in curves.areas(one.sample, [one])]
    return {"deletion": mean(one[0] for one in areas), "insertion": mean(one[1] for one in areas)}
