"""Hugging Face folders of small models with random weights, real classes and real key names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from rate.artifacts.artifact import Artifact
from rate.backends.batches import clean_rows
from rate.backends.onnxruntime import OrtSpec
from rate.data.images.geometry import Geometry
from rate.kernels.separable import rise
from rate.types import Float32

LAYERS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = LAYERS | {"image_size": 32, "patch_size": 8}


def save(model: Any, tokenizer: Any, processor: Any, folder: Path) -> Path:
    for part in (model, tokenizer, processor):
        part.save_pretrained(folder)
    return folder


def spread(model: torch.nn.Module) -> Any:
    """Weights large enough that images and texts tell."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1:
                value.normal_(0.0, 0.2, generator=generator)
            elif name.endswith(".bias"):
                value.normal_(0.0, 0.1, generator=generator)
    return model.eval()


def clip_tokenizer() -> Any:
    """OpenAI's byte pairs, which open_clip carries along."""
    from open_clip.tokenizer import SimpleTokenizer

    known = SimpleTokenizer()
    vocabulary = {token.replace("<start_of_text>", "<|startoftext|>"): k for token, k in known.encoder.items()}
    vocabulary = {token.replace("<end_of_text>", "<|endoftext|>"): k for token, k in vocabulary.items()}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=list(known.bpe_ranks), model_max_length=16)


def save_clip(folder: Path) -> Path:
    text = LAYERS | {"vocab_size": 49408, "max_position_embeddings": 16}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=24)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})
    return save(spread(transformers.CLIPModel(config)), clip_tokenizer(), processor, folder)


def save_metaclip(folder: Path) -> Path:
    text = LAYERS | {"vocab_size": 49408, "max_position_embeddings": 16, "eos_token_id": 49407}
    config = transformers.MetaClip2Config(text_config=text, vision_config=VISION, projection_dim=24)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return save(spread(transformers.MetaClip2Model(config)), clip_tokenizer(), processor, folder)


def save_dinov3_with_text(folder: Path) -> Path:
    """DINOv3 and BERT, as a model of two encoders."""
    vision = transformers.DINOv3ViTConfig(**VISION, num_register_tokens=4)
    text = transformers.BertConfig(**LAYERS, vocab_size=32, max_position_embeddings=16)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=24)
    processor = transformers.DINOv3ViTImageProcessorFast(size={"height": 32, "width": 32})
    tokenizer = word_pieces(folder.with_name(f"{folder.name}-vocab"))
    return save(spread(transformers.VisionTextDualEncoderModel(config)), tokenizer, processor, folder)


TEXT = LAYERS | {"max_position_embeddings": 16, "pad_token_id": 1, "bos_token_id": None, "eos_token_id": 1}


def sentence_pieces(folder: Path) -> Any:
    """SigLIP's tokenizer: lower case, no punctuation, sentence pieces."""
    import sentencepiece

    words = ["a", "photo", "of", "the", "dark", "light", "square", "drawing", "in", "ink", "one", "two", "three"]
    lines = [" ".join(np.random.default_rng(k).permutation(words)) for k in range(50)]
    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(folder / "spiece"),
        vocab_size=34,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return transformers.SiglipTokenizer(str(folder / "spiece.model"), model_input_names=["input_ids"])


def save_siglip(folder: Path) -> Path:
    tokenizer = sentence_pieces(folder.with_name(f"{folder.name}-spiece"))
    config = transformers.SiglipConfig(text_config=TEXT | {"vocab_size": 64}, vision_config=VISION)
    processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    return save(spread(transformers.SiglipModel(config)), tokenizer, processor, folder)


def gemma_tokenizer() -> Any:
    """SigLIP 2's tokenizer, of single letters."""
    special = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    vocabulary = {token: k for k, token in enumerate((*special, *"\u2581abcdefghijklmnopqrstuvwxyz,"))}
    return transformers.Siglip2Tokenizer(vocab=vocabulary, merges=[], model_input_names=["input_ids"])


def save_naflex(folder: Path) -> Path:
    vision = LAYERS | {"patch_size": 8, "num_patches": 16}
    config = transformers.Siglip2Config(text_config=TEXT | {"vocab_size": 64}, vision_config=vision)
    processor = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    return save(spread(transformers.Siglip2Model(config)), gemma_tokenizer(), processor, folder)


WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "dark", "light", "square", "##s", "drawing")


def word_pieces(folder: Path) -> Any:
    """BERT's tokenizer, from a vocab.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return transformers.BertTokenizer.from_pretrained(folder)


def save_blip(folder: Path, model: str = "BlipForImageTextRetrieval") -> Path:
    text = LAYERS | {"vocab_size": 32, "max_position_embeddings": 16, "encoder_hidden_size": 32, "bos_token_id": 2}
    text |= {"pad_token_id": 0, "sep_token_id": 3, "eos_token_id": 3}
    config = transformers.BlipConfig(
        text_config=text, vision_config=VISION, image_text_hidden_size=24, projection_dim=24
    )
    processor = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    tokenizer = word_pieces(folder.with_name(f"{folder.name}-vocab"))
    return save(spread(getattr(transformers, model)(config)), tokenizer, processor, folder)


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def noise(geometry: Geometry, count: int = 2) -> Float32:
    """Pixels [count,3,h,w] of pictures of noise."""
    shape = count, 3, geometry.size, geometry.size
    levels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    return np.stack([geometry.picture(one).pixels for one in levels])


def exported_logits(artifact: Artifact, images: Float32) -> dict[str, Float32]:
    """Clean logits of the exported graph in ONNX Runtime for the pixels [n,3,h,w] of pictures."""
    geometry, perturbation = artifact.geometry, rise(artifact.geometry.size, 7)
    zero, scale = (np.reshape(one, (3, 1, 1)) for one in (geometry.mean, geometry.std))
    with OrtSpec(artifact.graph()).open(perturbation, len(images)) as backend:
        for slot, pixels in enumerate(images):
            picture = geometry.picture(np.rint(255 * (pixels * scale + zero)).astype(np.uint8))
            np.testing.assert_allclose(picture.pixels, pixels, atol=1e-5)
            backend.put(slot, picture)
        rows = clean_rows(perturbation, np.arange(len(images)))
        return {name: values.copy() for name, values in backend.submit(rows).wait().items()}
