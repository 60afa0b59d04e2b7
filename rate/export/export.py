"""The export from SOURCE to an artifact: open the source, write the graph, prove it, describe it, all or nothing.

int8 is also compared with f32 by its verdicts, on the same samples with the same fills.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from rate.artifacts.artifact import (
    ARTIFACT,
    GRAPH,
    PARITY_TOKENS,
    TOKENS,
    Artifact,
    check_heads,
    load_artifact,
    write_artifact,
)
from rate.artifacts.folders import check_replaceable, digest_files, replacing
from rate.artifacts.parity import judge
from rate.artifacts.parity_sample import make_sample, make_token_sample, save_sample
from rate.artifacts.records import Changes, Flips, Parity
from rate.backends.base import Graph
from rate.backends.onnxruntime import OrtSpec
from rate.backends.openvino import OpenVinoSpec
from rate.config import Measurement
from rate.data.bank import BankDraw
from rate.data.manifest import Manifest
from rate.engine.job import Job, decoder
from rate.engine.make_job import bank_size, job_of_samples
from rate.errors import ConfigError, DataError, ParityError, UsageError, check_installed
from rate.execution import Execution
from rate.export.generative import export_answers, refuse_options
from rate.export.graph.token_graph import TokenSource, token_source
from rate.export.options import ExportOptions as ExportOptions
from rate.export.options import check_head_name
from rate.export.precision.half import KINDS
from rate.export.precision.half_proof import add_half
from rate.export.precision.int8 import add_int8, read_calibration
from rate.export.sources.open_source import open_source
from rate.export.sources.reopen import request_of
from rate.export.sources.source_model import Source
from rate.export.sources.source_string import FAMILIES, answers_questions, packages_of
from rate.export.tensorrt import ObserveBuild, build_plan, planned_artifact
from rate.machine import versions
from rate.studies.flips import answers, flips_between
from rate.types import Sample

if TYPE_CHECKING:
    from torch import nn

    from rate.export.sources.in_memory import Description

Notify = Callable[[str], None]

_MAKERS = ("torch", "timm", "transformers", "onnx", "onnxscript", "onnxruntime")
"""The distributions that make a graph."""


def export(
    source: str | nn.Module,
    out: Path | None,
    options: ExportOptions,
    notify: Notify = lambda _: None,
    observe: ObserveBuild = lambda share, phase: None,
    told: Description | None = None,
) -> Artifact:
    """Run `export_artifact` or `export_module`, and then build a plan if one is requested.

    ``out`` may be None if ``source`` is an artifact into which a plan is built; ``observe``: see `build_plan`;
    ``told``: see `export_module`.

    Raises:
        UsageError: TensorRT or a GPU is missing, which is checked before any work; or ``out`` does not fit ``source``.
        ParityError: as `export_artifact`.
        RateError: as `export_artifact`; or the plan cannot be built, and the artifact is complete without it.
    """
    if isinstance(source, str) and answers_questions(source.partition(":")[0]):
        refuse_options(source, options)
    into = planned_artifact(source, out, options)
    if into is not None:
        whole = load_artifact(into)
    elif out is None:
        raise ConfigError("--out is missing: it names the artifact folder to write")
    elif isinstance(source, str):
        whole = export_artifact(source, out, options, notify)
    else:
        whole = export_module(source, told, out, options, notify)
    if options.format == "tensorrt":
        build_plan(whole, options.precision, options.plan_batch, notify, observe, options.force)
    return whole


def export_artifact(source: str, out: Path, options: ExportOptions, notify: Notify = lambda _: None) -> Artifact:
    """Export SOURCE (see `rate.export.sources.source_string`) to the artifact folder ``out``.

    Args:
        source: what to export.
        out: the folder; it appears when every proof has passed, and otherwise nothing is left.
        options: settings that the source does not define itself.
        notify: receives notices and steps, one sentence each.

    Raises:
        UsageError: source and options cannot be used, or ``out`` may not be replaced.
        ParityError: the graph does not reproduce the source's logits, or int8 changes more than ``options.max_flips``.
        RateError: the model cannot be exported.
    """
    check_replaceable(out, ARTIFACT, options.force)
    packages = packages_of(source)
    if answers_questions(source.partition(":")[0]):
        check_installed(f"export of {source}", packages)
        return export_answers(source, out, options, notify)
    data = _prepared(source, packages, packages.get("torch"), options)
    return _write(open_source(source, options), out, options, data, notify)


def export_module(
    module: nn.Module, told: Description | None, out: Path, options: ExportOptions, notify: Notify = lambda _: None
) -> Artifact:
    """Export a module in memory, which stays as it is, to the artifact folder ``out``; see `export_artifact`.

    What is assumed of the module is logged as a warning of the logger ``rate``.

    Raises:
        UsageError: see `open_module`, or ``out`` may not be replaced.
        RateError: as `export_artifact`.
    """
    from rate.export.sources.in_memory import Description, open_module

    check_replaceable(out, ARTIFACT, options.force)
    data = _prepared("a module", {}, "export", options)
    model = open_module(module, told or Description(), options)
    for notice in model.notices:
        logging.getLogger("rate").warning(notice)
    return _write(replace(model, notices=()), out, options, data, notify)


def _prepared(what: str, packages: dict[str, str], writes: str | None, options: ExportOptions) -> Manifest | None:
    """Check what an export imports; return the set on which int8 is calibrated, if it is.

    ``writes`` is the extra with what writes the graph of a torch module; None: the source is a graph.
    """
    writing = {} if writes is None else {"onnx": writes, "onnxscript": writes}
    quantizing = {"openvino": "cpu", "nncf": "int8"} if options.precision == "int8" else {}
    check_installed(f"export of {what}", packages | writing | quantizing | {"onnxruntime": "cpu"})
    return read_calibration(options) if options.precision == "int8" else None


def _write(model: Source, out: Path, options: ExportOptions, data: Manifest | None, notify: Notify) -> Artifact:
    for info in model.infos:
        check_head_name(info.name)
    check_heads(model.infos, UsageError)
    for notice in model.notices:
        notify(notice)
    tokens = token_source(model) if options.tokens else None
    with replacing(out, ARTIFACT, options.force) as draft:
        artifact = _build(model, tokens, draft, options, notify)
        if options.precision in KINDS:
            notify(f"writing the graph in {options.precision}, and comparing its logits with every half rounded")
            artifact = add_half(artifact, options.precision, options.forms)
        if data is not None:
            prove = partial(measure_flips, pictures=data.samples, allowed=options.max_flips, say=notify)
            notify(f"calibrating int8 on up to {options.calibration_images} images of {options.calibrate}")
            artifact = add_int8(artifact, data, model.logits, options, prove, notify)
    return structs.replace(artifact, path=out)


def _build(model: Source, tokens: TokenSource | None, folder: Path, options: ExportOptions, notify: Notify) -> Artifact:
    notify(f"exporting the graph of {model.source}")
    opset = model.write_graph(folder / GRAPH)
    notify("comparing its logits with the source model's")
    heads = tuple(info.name for info in model.infos)
    graph = Graph(folder / GRAPH, heads, model.geometry.size)
    sample = make_sample(model.geometry, model.logits)
    parity = judge(sample, OrtSpec(graph))
    save_sample(sample, folder)
    proven = {"pixels": parity}
    if tokens is not None:
        notify("exporting the token form, and comparing its logits on dropped patches")
        proven["tokens"] = _add_tokens(tokens, graph)
    names = sorted(path.name for path in folder.iterdir())
    artifact = Artifact(
        path=folder,
        family=model.family,
        source=model.source,
        weights=model.weights,
        geometry=model.geometry,
        heads=model.infos,
        precision="f32",
        opset=opset,
        graphs={"pixels": GRAPH} | ({} if tokens is None else {"tokens": TOKENS}),
        files=digest_files(folder, names),
        parity=proven,
        versions=versions((*_MAKERS, *_packages_of(model.family))),
        patches=None if tokens is None else tokens.patches,
        request=request_of(model, options),
    )
    write_artifact(artifact)
    return artifact


def _packages_of(family: str) -> tuple[str, ...]:
    """Return the distribution of the plug-in that a family is of."""
    plugin = FAMILIES.plugin(family)
    return () if plugin is None else (plugin.package,)


def _add_tokens(tokens: TokenSource, pixels: Graph) -> Parity:
    """Write the token graph beside the graph ``pixels``, and compare it with torch on explicitly dropped patches."""
    graph = replace(pixels, path=pixels.path.with_name(TOKENS), patches=tokens.patches)
    tokens.write_graph(graph.path, pixels.path)
    sample = make_token_sample(tokens.model.geometry, tokens.patches, tokens.logits)
    parity = judge(sample, OrtSpec(graph))
    save_sample(sample, graph.path.parent, PARITY_TOKENS)
    return parity


def measure_flips(
    artifact: Artifact,
    samples: tuple[Sample, ...],
    pictures: Iterable[Sample],
    allowed: float,
    say: Notify = lambda _: None,
) -> Changes:
    """Evaluate ``samples`` with the f32 and the int8 graph of ``artifact``; return the section of artifact.json.

    Verdicts are reached as by default in a run, by swaps.

    Args:
        artifact: an artifact with an int8 graph.
        samples: their labels are classes of every head.
        pictures: the set whose bank of pictures the samples meet.
        allowed: the largest share of a head's predictions, or of its verdicts, that may differ.
        say: receives the progress and the result.

    Raises:
        ParityError: a larger share differs.
        DataError: no sample could be evaluated in both, or there are too few pictures of other classes.
    """
    job = _usual_job(artifact, samples, pictures)
    say(f"comparing int8 with f32: the verdicts of {len(samples)} images by swaps")
    f32 = answers(job, OpenVinoSpec(artifact.graph(), "f32"))
    int8 = answers(job, OpenVinoSpec(artifact.graph(precision="int8"), "int8"))
    all_flips = flips_between(job, int8, f32)
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
    return Changes(all_flips[0].samples, allowed, tuple(all_flips))


def _share(flips: Flips) -> float:
    return max(flips.predictions, flips.verdicts) / flips.samples


def _usual_job(artifact: Artifact, samples: tuple[Sample, ...], pictures: Iterable[Sample]) -> Job:
    """Make the job of a run with the usual measurement on ``samples``, which meet a bank of ``pictures``."""
    usual = Measurement()
    draw = BankDraw(bank_size(usual), usual.seed)
    for picture in pictures:
        draw.add(picture)
    bank = draw.bank(decoder(usual, artifact.geometry))
    if bank.fewest < usual.fewest_fills:
        raise DataError(
            f"--calibrate: verdicts are compared by swaps with pictures of other classes, which are as few as "
            f"{bank.fewest} of {len(bank)} that can be read, and {usual.fewest_fills} are needed; give a larger set"
        )
    return job_of_samples(artifact, samples, usual, Execution(save_maps=0), bank=bank)
