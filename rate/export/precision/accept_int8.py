"""Export with a comparison of int8 and f32 on the same samples under the same masks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rate.artifacts.artifact import Artifact, load_artifact
from rate.artifacts.records import Changes, Flips
from rate.backends.base import BackendSpec
from rate.backends.openvino import OpenVinoSpec
from rate.config import Execution, Measurement
from rate.engine.engine import InProcess, slots_of
from rate.engine.job import Job, job_of_samples
from rate.engine.verdict import Verdict
from rate.errors import ConfigError, DataError, ParityError
from rate.export.export import ExportOptions, export_artifact
from rate.export.tensorrt import ObserveBuild, build_plan, planned_artifact
from rate.studies.precision import Answer, count_flips
from rate.types import Sample

MASKS = 100
"""The number of masks of an image. Maps of few masks are noisy, so more verdicts change than with many masks."""

Say = Callable[[str], None]
Verdicts = dict[tuple[str, str], Verdict]


def export(
    source: str,
    out: Path | None,
    options: ExportOptions,
    notify: Say = lambda _: None,
    observe: ObserveBuild = lambda share, phase: None,
) -> Artifact:
    """Run `export_artifact` with a measurement of the int8 graph's verdicts, and then build a plan if one is requested.

    ``out`` may be None if ``source`` is an artifact into which a plan is built; ``observe``: see `build_plan`.

    Raises:
        UsageError: TensorRT or a GPU is missing, which is checked before any work; or ``out`` does not fit ``source``.
        ParityError: as `export_artifact`; or int8 changes more than ``options.max_flips``, and nothing is left.
        RateError: as `export_artifact`; or the plan cannot be built, and the artifact is complete without it.
    """

    into = planned_artifact(source, out, options)
    if into is not None:
        whole = load_artifact(into)
    elif out is not None:
        prove = partial(measure_flips, allowed=options.max_flips, say=notify)
        whole = export_artifact(source, out, options, notify, prove)
    else:
        raise ConfigError("--out is missing: it names the artifact folder to write")
    if options.format == "tensorrt":
        build_plan(whole, options.precision, options.plan_batch, notify, observe, options.force)
    return whole


def measure_flips(
    artifact: Artifact, samples: tuple[Sample, ...], allowed: float, say: Say = lambda _: None, masks: int = MASKS
) -> Changes:
    """Evaluate ``samples`` with the f32 and the int8 graph of ``artifact``; return the section of artifact.json.

    Args:
        artifact: an artifact with an int8 graph.
        samples: their labels are classes of every head.
        allowed: the largest share of a head's predictions, or of its verdicts, that may differ.
        say: receives the progress and the result.
        masks: the number of RISE masks of an image.

    Raises:
        ParityError: a larger share differs.
        DataError: no sample could be evaluated in both.
    """
    job = job_of_samples(artifact, samples, Measurement(masks=masks), Execution(save_maps=0))
    say(f"comparing int8 with f32: {len(samples)} images under {masks} masks each")
    f32 = _verdicts(job, OpenVinoSpec(artifact.graph(), "f32"))
    int8 = _verdicts(job, OpenVinoSpec(artifact.graph(precision="int8"), "int8"))
    all_flips = [_flips(head.name, int8, f32) for head in job.heads]
    if not all(flips.samples for flips in all_flips):
        raise DataError("none of the images to compare int8 with f32 on could be evaluated; see `rate data check`")
    for flips in all_flips:
        say(f"against f32, {flips}")
    worst = max(all_flips, key=_share)
    if _share(worst) > allowed:
        raise ParityError(
            f"int8 changes too much against f32, {worst}: a share of {_share(worst):.3f}, allowed is "
            f"{allowed:g}; calibrate on more or other images, accept it with --max-flips, or use --precision f32"
        )
    return Changes(all_flips[0].samples, masks, allowed, tuple(all_flips))


def _share(flips: Flips) -> float:
    return max(flips.predictions, flips.verdicts) / flips.samples


def _verdicts(job: Job, spec: BackendSpec) -> Verdicts:
    with spec.open(job.perturbation, slots_of(job)) as backend:
        return {
            (outcome.sample.id, verdict.prediction.head): verdict
            for step in InProcess(backend).steps(job, job.samples)
            for outcome in step.outcomes
            for verdict in outcome.verdicts
        }


def _flips(head: str, own: Verdicts, f32: Verdicts) -> Flips:
    keys = [key for key in f32 if key[1] == head]
    return count_flips(head, [(_answer(own.get(key)), _answer(f32[key])) for key in keys])


def _answer(verdict: Verdict | None) -> Answer | None:
    if verdict is None:
        return None
    return Answer(verdict.prediction.name, verdict.valid, verdict.saliency.mass["positive"])
