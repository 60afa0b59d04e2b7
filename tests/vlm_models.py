"""Folders of small generative models with random weights, real classes and real key names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.hf_models import LAYERS, spread

WORDS = (
    *("is", "there", "a", "red", "blue", "square", "in", "the", "picture", "what", "colour", "of", "this", "it"),
    *("yes", "no", "Yes", "No", "dog", "cat", "bird", "green", "A", "B", "C", "?", ":", ".", ",", "USER", "ASSISTANT"),
    *("system", "user", "assistant", "you", "are", "helpful", "question", "hot", "ice"),
)
_CONTENT = (
    "{%% for message in messages %%}{%% for part in message['content'] %%}{%% if part['type'] == 'image' %%}%s"
    "{%% else %%}{{ part['text'] }}{%% endif %%}{%% endfor %%}{%% endfor %%}"
)
LLAVA_TEMPLATE = "you are helpful . USER: " + _CONTENT % "<image>\n" + " ASSISTANT:"
QWEN_TEMPLATE = (
    "<|im_start|>system\nyou are helpful .<|im_end|>\n<|im_start|>user\n"
    + _CONTENT % "<|vision_start|><|image_pad|><|vision_end|>"
    + "<|im_end|>\n<|im_start|>assistant\n"
)


def tokenizer(*special: str) -> Any:
    """Whole words, of which none is longer."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ("<pad>", "<unk>", "<s>", "</s>", *special)
    words = Tokenizer(models.WordLevel({word: k for k, word in enumerate((*names, *WORDS))}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(special),
    )


TEXT = LAYERS | {"num_hidden_layers": 2, "num_key_value_heads": 1, "vocab_size": 64, "max_position_embeddings": 256}


def llava(side: int = 28, patch: int = 7) -> tuple[Any, Any]:
    """A LLaVA with CLIP and Llama, and its processor."""
    words = tokenizer("<image>")
    vision = transformers.CLIPVisionConfig(**LAYERS | {"num_hidden_layers": 2}, image_size=side, patch_size=patch)
    config = transformers.LlavaConfig(
        vision_config=vision,
        text_config=transformers.LlamaConfig(**TEXT),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
    )
    pictures = transformers.CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}, resample=3
    )
    processor = transformers.LlavaProcessor(
        pictures,
        words,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    return spread(transformers.LlavaForConditionalGeneration(config)), processor


def red_seeker(side: int = 28) -> tuple[Any, Any]:
    """A LLaVA that answers `yes` the more surely, the more red and the less blue the whole picture is, else `no`.

    A colour whose red is 19 levels above its blue, as in the mean colour, says nothing.
    Dimension 0 of every hidden state carries that: attention averages it over all tokens before, nothing else acts.
    """
    model, processor = llava(side)
    vision, text = model.model.vision_tower, model.model.language_model
    known = processor.tokenizer.convert_tokens_to_ids
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.fill_(float("norm" in name and name.endswith(".weight")))
        weight = dict(vision.named_parameters())
        [patches] = [value for name, value in weight.items() if name.endswith("patch_embedding.weight")]
        [places] = [value for name, value in weight.items() if name.endswith("position_embedding.weight")]
        std = processor.image_processor.image_std
        patches[0, 0], patches[0, 2] = 4 * std[0] / 49, -4 * std[2] / 49
        places[:, 1], places[:, 2] = 1.0, -1.0
        projector = model.model.multi_modal_projector
        projector.linear_1.weight[0, 0], projector.linear_1.weight[1, 0] = 1.0, -1.0
        projector.linear_2.weight[0, 0], projector.linear_2.weight[0, 1] = 1.0, -1.0  # gelu(x) - gelu(-x) = x
        projector.linear_2.bias[1], text.embed_tokens.weight[:, 1] = 4.0, 4.0  # what the norms divide by
        for layer in text.layers:
            layer.self_attn.v_proj.weight[0, 0] = layer.self_attn.o_proj.weight[0, 0] = 1.0
        model.lm_head.weight[known("yes"), 0], model.lm_head.weight[known("no"), 0] = 4.0, -4.0
    return model, processor


def qwen(version: str = "2") -> tuple[Any, Any]:
    """A Qwen2-VL, or with "2_5" a Qwen2.5-VL, and its processor."""
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    words = tokenizer(*(f"<|{name}|>" for name in (*names, "im_start", "im_end")))
    tokens = {name: words.convert_tokens_to_ids(f"<|{name}|>") for name in names}
    text = TEXT | {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}}
    vision: dict[str, Any] = {"depth": 2, "num_heads": 2, "patch_size": 7, "spatial_merge_size": 2}
    if version == "2":
        vision |= {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2}
    else:
        vision |= {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32, "window_size": 28}
        vision |= {"fullatt_block_indexes": [1]}
    name = f"Qwen{version}_VL" if version != "2" else "Qwen2VL"
    config = getattr(transformers, f"{name}Config")(
        vision_config=vision,
        text_config=text,
        image_token_id=tokens["image_pad"],
        video_token_id=tokens["video_pad"],
        vision_start_token_id=tokens["vision_start"],
        vision_end_token_id=tokens["vision_end"],
    )
    pictures = transformers.Qwen2VLImageProcessor(patch_size=7, merge_size=2)
    processor = getattr(transformers, f"{name}Processor")(
        pictures, words, transformers.Qwen2VLVideoProcessor(patch_size=7, merge_size=2), chat_template=QWEN_TEMPLATE
    )
    return spread(getattr(transformers, f"{name}ForConditionalGeneration")(config)), processor


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": llava,
    "qwen2": qwen,
    "qwen2_5": lambda: qwen("2_5"),
    "red": red_seeker,
}


def save(name: str, folder: Path) -> str:
    """Write the folder of a model and return its SOURCE; pictures have 28 pixels a side."""
    model, processor = MODELS[name]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return f"hf-vlm:{folder}" + (":28" if name.startswith("qwen") else "")
