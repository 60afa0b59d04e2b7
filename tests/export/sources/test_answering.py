"""Generative models: batched answers on perturbed pictures equal the processor and the model, row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rate.backends.answering import AnsweringSpec
from rate.backends.base import Asked, Prompt
from rate.errors import SampleError, UsageError
from rate.export.sources.answering import VOID, Answering
from rate.export.sources.families.hf_vlm import VlmFolder, load_model, open_answers
from rate.export.sources.source_string import parse_source
from rate.kernels.separable import rise
from rate.types import GRID, INSIDE, OUTSIDE, Question, Rows
from tests.hf_models import photograph
from tests.vlm_models import save

SIDE = 28
RED = Question("is there a red square in the picture?", ("yes", "no"))
KIND = Question("what is it?", ("cat", "dog", "bird"))


def opened(source: str) -> VlmFolder:
    reference = parse_source(source)
    assert reference is not None
    return open_answers(reference)


@pytest.fixture(scope="module", params=["llava", "qwen2", "qwen2_5"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Answering:
    answers = opened(save(request.param, tmp_path_factory.mktemp(request.param)))
    return Answering(answers, load_model(answers, "f32"))


def plain(model: Answering, picture: Image.Image, question: Question) -> np.ndarray:
    """The documented use of a processor: the logits of the first tokens of the options behind the prompt."""
    processor = model.answers.processor
    content = [{"type": "image", "image": picture}, {"type": "text", "text": question.text}]
    read = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    firsts = [processor.tokenizer.convert_tokens_to_ids(option) for option in question.options]
    with torch.inference_mode():
        return model.model(**read).logits[0, -1, firsts].numpy()


def test_perturbed_logits_equal_those_of_the_processor_on_the_perturbed_picture(model: Answering) -> None:
    """Each row is made as a picture file here, and given to the processor as any other."""
    geometry, clean = model.answers.geometry, rise(SIDE, 2)
    pictures = [photograph(SIDE, SIDE, seed) for seed in range(3)]
    region = np.zeros((SIDE, SIDE), np.bool_)
    region[5:19, 9:24] = True
    asked = (RED, KIND)
    kinds = [(slot, fill, side) for slot in (0, 1) for fill, side in ((slot, GRID), (2, INSIDE), (2, OUTSIDE))]
    kinds += [(0, 2, GRID), (1, 2, GRID)]  # of a grid that hides all: the fill alone, under each question
    slot, fill, side = (np.array(column) for column in zip(*kinds, strict=True))
    grid = np.ones((len(kinds), 2, 2), np.float32)
    grid[-2:] = 0.0
    rows = Rows(slot, grid, np.zeros((len(kinds), 2), np.int64), fill, side)
    with AnsweringSpec(lambda: model, ("answer",), SIDE).open(clean, 3) as backend:
        assert isinstance(backend, Asked)
        for number, picture in enumerate(pictures):
            backend.put(number, geometry.image_to_picture(picture), np.where(region, 255, 0).astype(np.uint8))
        for number, question in enumerate(asked):
            backend.ask(number, backend.prompt(question))
        logits = backend.submit(rows).wait()["answer"]
    shown = [np.asarray(picture) for picture in pictures]
    for row, (own, other, kept) in enumerate(kinds):
        mask = {GRID: grid[row, 0, 0] > 0, INSIDE: region, OUTSIDE: ~region}[kept]
        picture = Image.fromarray(np.where(np.broadcast_to(mask, region.shape)[:, :, None], shown[own], shown[other]))
        expected = plain(model, picture, asked[own])
        np.testing.assert_allclose(logits[row, : len(expected)], expected, atol=2e-5)
        assert (logits[row, len(expected) :] == VOID).all()


def test_the_text_before_the_picture_is_computed_once_and_changes_nothing(
    model: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [model.prompt(question) for question in (RED, KIND, RED)]
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    computed: list[tuple[int, ...]] = []
    language = model.model.model.language_model
    forward = language.forward

    def counted(*args: Any, **given: Any) -> Any:
        computed.append(
            tuple((given.get("input_ids") if given.get("inputs_embeds") is None else given["inputs_embeds"]).shape[:2])
        )
        return forward(*args, **given)

    with torch.inference_mode():
        without = Answering(model.answers, model.model, keeps_prefixes=False).logits(pixels, prompts)
        first = model.logits(pixels, prompts)
        monkeypatch.setattr(language, "forward", counted)
        again = model.logits(pixels, prompts)
    before = prompts[0].ids.index(model.model.config.image_token_id)
    assert before > 3
    assert computed == [(3, max(len(prompt.ids) for prompt in prompts) - before)]
    assert float((again - first).abs().max()) == 0.0
    assert float((first - without).abs().max()) < 1e-5


def test_a_row_answers_alike_whatever_else_is_asked_beside_it(model: Answering) -> None:
    long = replace(RED, text=" ".join([RED.text] * 3))
    prompts = [model.prompt(question) for question in (KIND, long, RED)]
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        together = model.logits(pixels, prompts)
        for row, prompt in enumerate(prompts):
            alone = model.logits(pixels[row : row + 1], [prompt])[0]
            np.testing.assert_allclose(together[row, : len(prompt.answers)], alone, atol=1e-5)


def test_lower_precision_keeps_the_last_product_in_f32(model: Answering) -> None:
    half = Answering(model.answers, load_model(model.answers, "bf16"))
    prompts = [Prompt(model.prompt(RED).ids, tuple(range(10, 60)))]
    pixels = torch.zeros(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        exact, rounded = model.logits(pixels, prompts), half.logits(pixels, prompts)
    assert rounded.dtype == torch.float32
    assert (rounded != rounded.to(torch.bfloat16).float()).any()
    assert float((exact - rounded).abs().max()) < 0.3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder")
    save("llava", folder)
    return folder


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (
            Question("is it?", ("hot dog", "hot ice")),
            "the options 'hot dog' and 'hot ice' of 'is it?' begin with the same",
        ),
        (Question("is <image> red?", ("yes", "no")), "has <image> 2 times, expected once; the chat template"),
    ],
)
def test_questions_that_cannot_be_asked(folder: Path, question: Question, said: str) -> None:
    with pytest.raises(SampleError) as caught:
        opened(f"hf-vlm:{folder}").prompt(question)
    assert said in str(caught.value)


def test_without_a_template_the_question_is_the_prompt(folder: Path, tmp_path: Path) -> None:
    answers = opened(f"hf-vlm:{folder}")
    answers.processor.chat_template = None
    assert answers.text("USER: <image> is it red? ASSISTANT:") == "USER: <image> is it red? ASSISTANT:"
    with pytest.raises(SampleError, match="has <image> 0 times, expected once; without a chat template"):
        answers.text("is it red?")


def test_folders_that_cannot_be_opened(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pictures have 28 pixels a side; leave :56 out"):
        opened(f"hf-vlm:{folder}:56")
    with pytest.raises(UsageError, match="is no folder, and no id"):
        opened(f"hf-vlm:{tmp_path / 'missing'}")
    with pytest.raises(UsageError, match=r"has no config\.json"):
        opened(f"hf-vlm:{tmp_path}")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(UsageError, match="has no processor that reads both pictures and text"):
        opened(f"hf-vlm:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(
        UsageError, match="is of the type 'clip'; generative models that can be asked are llava, qwen2_vl"
    ):
        opened(f"hf-vlm:{tmp_path}")


def test_pictures_of_patches_have_one_size_that_fits_them(tmp_path: Path) -> None:
    source = save("qwen2", tmp_path)
    assert opened(source.removesuffix(":28")).geometry.size == 448
    assert opened(source.replace(":28", ":56")).image_tokens == 16
    with pytest.raises(UsageError, match="must be a multiple of 14 pixels, got 30"):
        opened(source.replace(":28", ":30"))
