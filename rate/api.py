"""The Python form of the commands, with plain dataclasses in and out and without global state.

Every function imports what it needs when it is called, so that `import rate` stays light.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from rate.config import FIXED_MASKS, Measurement
from rate.errors import ConfigError
from rate.execution import Execution
from rate.export.options import ExportOptions
from rate.judging import Judging
from rate.keywords import EvaluateKeywords, ExportKeywords, JudgeKeywords, divided, lists_fields
from rate.methods import KEEP
from rate.reading import Reading

if TYPE_CHECKING:
    from torch import nn

    from rate.artifacts.artifact import Artifact
    from rate.export.sources.prompts import Names
    from rate.kernels.saliency import Masks
    from rate.opened import Opened, OpenedModule, Watch
    from rate.report.compare.compare import Comparison
    from rate.report.gate.decide import Decision
    from rate.report.gate.policy import PolicySource
    from rate.report.html.render import Report
    from rate.report.log import Target
    from rate.runs.summary.summarise import Summary
    from rate.studies.explanation import Explanation
    from rate.types import Box, Float32

_log = logging.getLogger("rate")


@lists_fields(ExportOptions)
def export(
    source: str | nn.Module,
    out: str | Path | None = None,
    *,
    classes: Path | str | Names | None = None,
    templates: Path | str | Sequence[str] | None = None,
    processor: Any = None,
    notify: Callable[[str], None] = _log.info,
    **options: Unpack[ExportKeywords],
) -> Artifact:
    """Export ``source`` to the artifact folder ``out``.

    Args:
        source: a SOURCE in a form of `rate.export.sources.source_string`, or a PyTorch module in memory, which stays as
            it is: a classifier from pixels [b,3,h,w] to logits [b,c], or a dual encoder of open_clip or transformers.
        out: the folder. With ``format="tensorrt"`` ``source`` may be an artifact: the plan is built into it, and
            ``out`` is left out.
        classes: a file with names, one a line in the order of the logits; of a module also the names themselves, or
            a mapping from labels to the names in a prompt.
        templates: a file with prompts, one a line; of a module also the prompts themselves.
        processor: what prepares the inputs of a module: open_clip's tokenizer, or a processor of transformers.
        notify: receives the steps, one sentence each; what is assumed of a module is logged as a warning.
        options: the fields of `rate.export.options.ExportOptions`; a classifier in memory that does not say how its
            images are prepared needs ``size``, and ``mean``, ``std``, ``interpolation`` and ``crop_pct`` if they are
            not the usual ones.

    Raises:
        UsageError: the source is unknown or unusable, or ``out`` exists.
        ParityError: the exported graph does not reproduce the source's logits, or int8 changes too many verdicts.
    """
    from rate.export.export import export as export_measured
    from rate.export.sources.in_memory import Description

    place = None if out is None else Path(out)
    if not isinstance(source, str | Path):
        [chosen] = divided(options, ExportOptions)
        return export_measured(source, place, chosen, notify, told=Description(classes, templates, processor))
    [chosen] = divided(options | _files(classes=classes, templates=templates), ExportOptions)
    if processor is not None:
        raise ConfigError(f"processor: {source} says itself what prepares its inputs; leave it out")
    return export_measured(str(source), place, chosen, notify)


def _files(**given: object) -> dict[str, Path]:
    for name, value in given.items():
        if not isinstance(value, str | Path | None):
            raise ConfigError(f"{name}: of a SOURCE in text these are in a file, got {value!r}; write them, one a line")
    return {name: Path(str(value)) for name, value in given.items() if value is not None}


@lists_fields(Reading, Measurement, Execution)
def evaluate(
    artifact: str | Path,
    data: str | Path,
    out: str | Path | None = None,
    *,
    split: str | None = None,
    progress: Watch = False,
    **settings: Unpack[EvaluateKeywords],
) -> Summary:
    """Evaluate an artifact on a data set, and return accuracy, PT and IR of every head.

    ``data`` is a manifest, Parquet files with images, or tar shards.

    ``settings`` are the fields of `rate.reading.Reading`, `rate.config.Measurement` and `rate.execution.Execution`.
    Without ``out`` the run folder is temporary and is deleted when the function returns; no maps are drawn for it.

    ``progress`` receives the state of the run after every batch (`rate.engine.evaluate.Progress`): of its rows, then of
    the maps that are drawn where swaps decide. True shows a bar, or in a notebook a line that changes.

    Notices about the data and about skipped backends are logged as warnings of the logger ``rate`` and returned as
    `Summary.notices`.

    Raises:
        UsageError: artifact, data or settings cannot be used, or ``out`` belongs to other settings.
        TooManyErrors: more samples failed than ``max_errors`` allows; finished samples are stored.
        BackendError: the runtime failed; the run can be resumed.
    """
    from rate.opened import Opened

    divided(settings, Execution, Measurement, Reading)  # a wrong one is refused before anything is read
    with Opened(artifact) as opened:
        return opened.evaluate(data, out, split=split, progress=progress, **settings)


@overload
def open(model: str | Path) -> Opened: ...


@overload
def open(
    model: nn.Module,
    *,
    classes: Path | str | Names | None = None,
    templates: Path | str | Sequence[str] | None = None,
    processor: Any = None,
    size: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    interpolation: str | None = None,
    crop_pct: float | None = None,
) -> OpenedModule: ...


def open(
    model: str | Path | nn.Module,
    *,
    classes: Path | str | Names | None = None,
    templates: Path | str | Sequence[str] | None = None,
    processor: Any = None,
    size: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    interpolation: str | None = None,
    crop_pct: float | None = None,
) -> Opened | OpenedModule:
    """Open a model to evaluate it several times: an artifact in a service, or a PyTorch module while it is trained.

    ``with rate.open("artifact") as opened: opened.evaluate("a.csv"); opened.evaluate("b.csv")`` loads the artifact's
    model once. ``rate.open(module, classes=names, size=224).evaluate("a.csv")`` evaluates the module's weights of that
    moment, without gradients, in eval mode and f32, on a copy; the module itself stays as it is.

    The keywords are what a module does not say of itself; they are explained in `export`.

    Raises:
        ArtifactError: the artifact is missing or damaged.
        ConfigError: a keyword is given with an artifact.
    """
    from rate.opened import Opened, OpenedModule

    geometry = {"size": size, "mean": mean, "std": std, "interpolation": interpolation, "crop_pct": crop_pct}
    if not isinstance(model, str | Path):
        from rate.export.sources.in_memory import Description

        [options] = divided(geometry, ExportOptions)
        return OpenedModule(model, Description(classes, templates, processor), options)
    told = geometry | {"classes": classes, "templates": templates, "processor": processor}
    if given := [name for name, value in told.items() if value is not None]:
        raise ConfigError(f"{', '.join(given)}: an artifact says these itself; leave them out")
    return Opened(model)


@lists_fields(Reading, Measurement, Execution)
def explain(
    artifact: str | Path,
    image: str | Path,
    out: str | Path | None = None,
    *,
    boxes: Sequence[Box] = (),
    mask: str | Path | None = None,
    label: str | None = None,
    head: str | None = None,
    **settings: Unpack[EvaluateKeywords],
) -> Explanation:
    """Explain the prediction for one image: a map, and with ``fill`` a verdict by swaps.

    ``boxes`` in pixels of the image, or ``mask`` (non-zero pixels), say where the object is. With a folder of other
    pictures as ``fill``, swaps of the object and the rest with these decide, and the map is a picture alone.
    ``label`` is the class that is explained, by default the predicted one.

    ``settings`` are the fields of `rate.reading.Reading`, `rate.config.Measurement` and `rate.execution.Execution`.
    With ``out`` the picture is written there; `Explanation.document` has the figures, and `str` says them.

    Raises:
        UsageError: the image or the other pictures cannot be used, or the artifact lacks the head or the class.
        BackendError: the runtime failed.
    """
    from rate.artifacts.artifact import load_artifact
    from rate.engine.choose_backend import open_backend
    from rate.studies import one_image
    from rate.studies.explanation import picture_form

    if out is not None:
        picture_form(Path(out))
    fill = str(settings.get("fill", "auto"))
    usual = {"masks": FIXED_MASKS, "verdict": one_image.usual_verdict(fill)}
    execution, measurement, reading = divided(usual | settings | {"fill": fill}, Execution, Measurement, Reading)
    asked = one_image.measurement_of_one(measurement)
    where = None if mask is None else Path(mask)
    question = one_image.OneImage(Path(image), tuple(boxes), where, label, head, reading)
    loaded = load_artifact(artifact)
    loaded.refuse_questions("explain", one_image.ONE_ROW)
    with open_backend(loaded, execution, asked.form, _log.warning) as backend:
        explanation = one_image.explain(loaded, backend, question, asked, execution)
    if out is not None:
        explanation.write(Path(out))
    return explanation


@lists_fields(Reading, Judging, Execution)
def judge(
    maps: str | Path | Mapping[str, Any] | Callable[[str, Float32, str], Any],
    data: str | Path,
    out: str | Path | None = None,
    *,
    artifact: str | Path | None = None,
    predictions: str | Path | None = None,
    head: str | None = None,
    split: str | None = None,
    progress: Watch = False,
    **settings: Unpack[JudgeKeywords],
) -> Summary:
    """Judge maps that another tool made, and return accuracy, PT and IR as of any run.

    ``maps`` are a file or a folder as `rate judge` takes them, a mapping from ids to arrays or tensors [h,w] or [3,h,w]
    (whose channels are summed), which is read twice, or a function that makes such an array from the id of a sample,
    its pixels [3,h,w] as the model sees them (without an artifact: from 0 to 1), and the name of the explained class.
    A run by a function goes on with whatever function the next call has.

    ``artifact`` predicts, and its maps are of what ``head`` sees; or ``predictions``, a table with ``id`` and
    ``prediction``; or a column of ``data``. ``settings`` are the fields of `rate.reading.Reading`,
    `rate.judging.Judging` and `rate.execution.Execution`; the work is done in this process. The rest is as in
    `evaluate`.

    Raises:
        UsageError: maps, predictions, data or settings cannot be used, or ``out`` belongs to other settings.
        TooManyErrors: more samples failed than ``max_errors`` allows; finished samples are stored.
        BackendError: the runtime failed; the run can be resumed.
    """
    from rate.artifacts.artifact import load_artifact
    from rate.data.given_maps import GivenMaps
    from rate.engine.judging.job import Predicting, judged_job, open_judge
    from rate.opened import carried_out

    execution, judging, reading = divided(settings, Execution, Judging, Reading)
    if isinstance(maps, str | Path):
        given: GivenMaps | Callable[[str, Float32, str], Any] = GivenMaps.at(Path(maps))
    else:
        given = GivenMaps.of(maps) if isinstance(maps, Mapping) else maps
    predicting = Predicting(
        None if artifact is None else load_artifact(artifact), None if predictions is None else Path(predictions), head
    )
    job = judged_job(given, str(data), split, judging, execution, reading, predicting)
    return carried_out(job, lambda say: open_judge(given, job, say), out, progress)


def load_run(path: str | Path) -> Summary:
    """Return the summary of a run folder, finished or not.

    Raises:
        RunError: ``path`` is not a run folder, or a part of it is damaged.
    """
    from rate.runs.remote import local_run
    from rate.runs.summary.summarise import load_summary

    return load_summary(local_run(path))


def compare(*references: str | Path, baseline: str | Path | None = None, by_cluster: bool = True) -> Comparison:
    """Compare heads over the same samples with the first one: paired differences, moves, McNemar.

    A reference is RUN or RUN@HEAD; a run of several heads stands for all of them. ``baseline`` replaces the first one.

    Raises:
        UsageError: fewer than two heads are named, or a run has no such head.
        RunError: a run is missing or damaged, or two of them measured different things.
    """
    from rate.report.compare.compare import compare as compare_heads

    return compare_heads(
        [str(reference) for reference in references],
        None if baseline is None else str(baseline),
        by_cluster=by_cluster,
    )


def gate(
    run: str | Path, policy: PolicySource, baseline: str | Path | None = None, allow_partial: bool = False
) -> Decision:
    """Decide whether a run passes a policy; the decision has ``passed``, ``verdict``, ``exit_code`` and every result.

    A reference is RUN, or RUN@HEAD if the run has several heads; RUN may be a folder of runs over corruptions.
    ``policy`` is the path of a gate.toml, its content as a mapping, or a list of checks. In a test: ``assert
    decision.passed, str(decision)``.

    Raises:
        ConfigError: the policy cannot be read or is impossible.
        RunError: a run is missing, damaged or not complete, or the two measured different things.
        UsageError: a run has several heads and none is named, or a check needs a baseline.
    """
    from rate.report.gate.grids import decide_named
    from rate.report.gate.policy import read_policy

    before = None if baseline is None else str(baseline)
    return decide_named(read_policy(policy), str(run), before, allow_partial=allow_partial)


def report(
    *references: str | Path,
    out: str | Path = "report.html",
    data: str | Path | None = None,
    roots: Sequence[str] = (),
    max_samples: int = 200,
    force: bool = False,
) -> Report:
    """Write one HTML file with the numbers, figures and samples of runs, which works offline; of several, a comparison.

    A reference is RUN, for all its heads, or RUN@HEAD, or the only one is a folder of runs over corruptions. ``data``
    and ``roots`` say where the pictures are if they moved.
    ``max_samples`` is the number of samples over all heads; ``force`` replaces a file.

    Raises:
        UsageError: ``out`` exists, or a run has no such head.
        RunError: a run is missing or damaged.
    """
    from rate.report.html.page import write_named

    named = [str(reference) for reference in references]
    return write_named(named, Path(out), data=data, roots=roots, max_samples=max_samples, force=force)


def log(
    run: str | Path,
    to: Target,
    out: str | Path | None = None,
    *,
    force: bool = False,
    max_samples: int = 200,
) -> tuple[str, ...]:
    """Put numbers and report of a finished run into a tracker or a model card, and return where they are, in words.

    ``run`` is RUN, for all its heads, or RUN@HEAD; a card is of one head. ``out`` and ``force`` are for cards. What was
    put into a tracker before is brought up to date there.

    Raises:
        UsageError: ``to`` is unknown, the run has no such head, or the card exists.
        MissingExtra: the library of ``to`` is not installed.
        RunError: the run is not complete, or damaged.
        StorageError: the tracker does not take it.
    """
    from rate.report.log.send import log_run

    places: list[str] = []
    log_run(
        str(run),
        to,
        None if out is None else Path(out),
        force=force,
        max_samples=max_samples,
        say=places.append,
        notify=_log.warning,
    )
    return tuple(places)


def masks(
    sample_id: str,
    start: int,
    stop: int,
    *,
    size: int = 224,
    grid: int = 7,
    keep: tuple[float, ...] | float = KEEP,
    cells: str = "fixed",
    seed: int = 0,
) -> Masks:
    """Return the RISE masks ``start`` to ``stop`` - 1 of a run with these settings for the sample ``sample_id``.

    Returns grids [n,s,s] and offsets [n,2]; `rate.kernels.reference.masks` expands them to full size.
    """
    measurement = Measurement(masks=max(stop, 2), grid=grid, keep=keep, cells=cells, seed=seed)
    drawn: Masks = measurement.method.masks_of(measurement, size, None).draw(sample_id, start, stop)
    return drawn
