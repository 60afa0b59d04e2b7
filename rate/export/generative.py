"""Generative models: the artifact of a model's folder, which keeps its digest and a proof, and its backend in PyTorch.

No graph is written. The proof compares the backend with the processor and the model of transformers, one row after the
other, on pictures that are perturbed explicitly.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from rate.artifacts.artifact import ARTIFACT, PROVEN, Artifact, write_artifact
from rate.artifacts.folders import digest_files, replacing
from rate.artifacts.parity import judge
from rate.artifacts.parity_sample import ASKED_HEAD, make_asked_sample, save_sample
from rate.artifacts.records import HeadInfo
from rate.backends.answering import AnsweringSpec
from rate.backends.base import Prompt
from rate.data.questions import AskedRows
from rate.errors import ConfigError, DataError, RateError, SampleError, UsageError
from rate.export.options import ExportOptions
from rate.export.sources.source_string import parse_source
from rate.machine import versions
from rate.types import Float32, Int64

if TYPE_CHECKING:
    from collections.abc import Callable

    from rate.export.sources.answering import Answering
    from rate.export.sources.families.hf_vlm import VlmFolder

READ_FIRST = 1000
"""The number of different options that are read before a run."""

PRECISIONS = ("f32", "fp16", "bf16")
_EXAMPLES = ("Is it a square?", "What is in the picture, and which of the colours does it have?")
_ANSWERS = 8
"""The number of answers in the proof, which are tokens from all of the vocabulary."""


def export_answers(source: str, out: Path, options: ExportOptions, notify: Callable[[str], None]) -> Artifact:
    """Write the artifact of a generative model; see `rate.export.export.export_artifact`.

    Raises:
        UsageError: the folder cannot be used, or an option is of models with a graph.
        ParityError: the batched model does not compute what the processor and the model compute row by row.
    """
    from rate.export.sources.answering import Answering
    from rate.export.sources.families.hf_vlm import load_model, open_answers

    reference = parse_source(source)
    assert reference is not None, "a generative model is named by its family"
    with replacing(out, ARTIFACT, options.force) as draft:
        answers = open_answers(reference)
        texts, prompts = _examples(answers)
        notify(f"loading {source} and comparing its answers with those of its processor, one picture at a time")
        model = Answering(answers, load_model(answers, "f32"))

        def plain(images: Float32, pictures: Int64) -> Float32:
            turns = [int(picture) % len(prompts) for picture in pictures]
            return model.plain_logits(images, [prompts[turn] for turn in turns], [texts[turn] for turn in turns])

        sample = make_asked_sample(answers.geometry, prompts, plain)
        parity = judge(sample, AnsweringSpec(lambda: model, (ASKED_HEAD,), answers.geometry.size))
        save_sample(sample, draft)
        artifact = Artifact(
            path=draft,
            family=reference.family,
            source=source,
            weights=answers.weights,
            geometry=answers.geometry,
            heads=(HeadInfo(ASKED_HEAD, "options", ()),),
            precision="f32",
            opset=None,
            graphs={},
            files=digest_files(draft, [path.name for path in draft.iterdir()]),
            parity={PROVEN: parity},
            versions=versions(("torch", "transformers", "tokenizers")),
        )
        write_artifact(artifact)
    return structs.replace(artifact, path=out)


def spec_of_answers(artifact: Artifact, precision: str, device: str, threads: int) -> AnsweringSpec:
    """Describe the model behind ``artifact`` as a backend; opening the spec loads it.

    Raises:
        UsageError: PyTorch does not have the precision.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"{artifact.path} computes in {', '.join(PRECISIONS)}, not in {precision}; choose one")
    load = partial(_load, artifact, precision)
    return AnsweringSpec(load, (ASKED_HEAD,), artifact.geometry.size, precision, device, threads)


def check_questions(artifact: Artifact, asked: AskedRows, data: object) -> None:
    """Refuse a set that a generative model cannot be asked, before any work; the weights are not loaded.

    Of rows with the same options the first question is read, of as many options as `READ_FIRST`. Others, which may be
    refused by themselves, become rows with an error.

    Raises:
        DataError: rows ask nothing, or their options begin with the same token.
        UsageError: the model's folder is missing or has changed.
    """
    if not artifact.asks:
        return
    if asked.without:
        raise DataError(
            f"{data}: {asked.without} rows ask nothing, and {artifact.path} is a generative model; give every row the "
            "columns `question` and `options`, such as yes|no, of which its label is one"
        )
    answers = _reopened(artifact)
    for question in islice(asked.first.values(), READ_FIRST):
        try:
            answers.prompt(question)
        except SampleError as error:
            raise DataError(f"{data}: {error}") from error


def _reopened(artifact: Artifact) -> VlmFolder:
    """Open the folder behind an artifact again, whatever its weights are by now."""
    from rate.export.sources.families.hf_vlm import open_answers

    try:
        reference = parse_source(artifact.source)
        assert reference is not None, "a generative model is named by its family"
        return open_answers(reference)
    except RateError as error:
        raise UsageError(
            f"the model of {artifact.path} is {artifact.source}, which cannot be opened from here ({error}); go to the "
            "folder that this path starts from, or put it back"
        ) from error


def _load(artifact: Artifact, precision: str) -> Answering:
    """Load the model behind an artifact.

    Raises:
        UsageError: it is missing or has changed.
    """
    from rate.export.sources.answering import Answering
    from rate.export.sources.families.hf_vlm import load_model

    answers = _reopened(artifact)
    if (answers.weights, answers.geometry) != (artifact.weights, artifact.geometry):
        raise UsageError(
            f"{artifact.source} is no longer what {artifact.path} was exported from: its files changed; put the old "
            f"ones back, or export it again: rate export {artifact.source} --out {artifact.path} --force"
        )
    return Answering(answers, load_model(answers, precision))


def _examples(answers: VlmFolder) -> tuple[list[str], list[Prompt]]:
    """Return two prompts of different lengths, as texts and as tokens, whose answers lie all over the vocabulary."""
    known = int(answers.config.get_text_config().vocab_size)
    chosen = tuple(number * known // _ANSWERS for number in range(_ANSWERS))
    try:
        texts = [answers.example(text) for text in _EXAMPLES]
    except SampleError as error:
        raise UsageError(f"{answers.source} cannot be asked: {error}") from error
    prompts = [Prompt(answers.tokens(text), chosen) for text in texts]
    if (largest := max(max(prompt.ids) for prompt in prompts)) >= known:
        raise UsageError(
            f"the tokenizer gives token {largest}, the model knows {known}: they do not belong together; put the "
            "model's own tokenizer files into its folder"
        )
    return texts, prompts


def refuse_options(source: str, options: ExportOptions) -> None:
    """Refuse the options of models with a graph or with heads on an embedding.

    Raises:
        ConfigError: names the first of them.
    """
    options.refuse_graph_options("hf-vlm")
    given = {
        "--classes": options.classes,
        "--templates": options.templates,
        "--head": options.heads,
        "--tokens": options.tokens,
        f"--precision {options.precision}": options.precision != "f32",
        f"--format {options.format}": options.format != "onnx",
    }
    if asked := [name for name, value in given.items() if value]:
        raise ConfigError(
            f"{asked[0]}: {source} is a generative model, which answers the question of each row in PyTorch and is "
            f"exported to neither ONNX nor TensorRT; leave it out (`rate eval` has --precision)"
        )
