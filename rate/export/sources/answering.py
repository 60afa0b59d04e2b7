"""A generative model behind the perturbation: pictures and questions in, the logits of the options' first tokens out.

The text before the picture is computed once: its keys and values are kept, and every row continues from them. Questions
of different lengths share a forward, padded behind their ends, where a causal model does not look.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rate.backends.base import Prompt
from rate.export.graph.perturbed import Perturbed
from rate.export.sources.families.hf_vlm import PATCHES, VlmFolder
from rate.types import Float32, Question

KEPT_PREFIXES = 4
"""The number of texts before a picture whose keys and values are kept."""

VOID = float(torch.finfo(torch.float32).min)
"""The logit of a column behind the options of a row."""


class Answering(nn.Module):
    """A model of transformers that answers questions about perturbed pictures; see `rate.backends.answering`."""

    def __init__(self, answers: VlmFolder, model: Any, keeps_prefixes: bool = True) -> None:
        """Take the loaded model, and whether the text before the picture is computed once."""
        super().__init__()
        self.answers, self.model, self._keeps = answers, model, keeps_prefixes
        self.perturbation = Perturbed(nn.Identity(), [nn.Identity()])
        self._prefixes: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def prompt(self, question: Question) -> Prompt:
        """See `rate.backends.base.Asked`."""
        return self.answers.prompt(question)

    def forward(self, *inputs: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Compute the logits [b,c] for the inputs of a perturbed graph; see `rate.export.graph.perturbed`."""
        [pixels] = self.perturbation(*inputs)
        return self.logits(pixels, prompts)

    def logits(self, pixels: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Compute the logits [b,c] of the first tokens of each prompt's options for normalised pixels [b,3,h,w].

        Their last product is computed in f32, whatever the precision of the model.
        """
        shared = self._shared(prompts) if self._keeps else ()
        ids = self._padded([prompt.ids for prompt in prompts], self._filler)
        given: dict[str, Any] = {"input_ids": ids[:, len(shared) :]} | self._picture(pixels.to(self.model.dtype))
        if shared:
            given[self._cache_name] = self._prefix(shared, len(prompts))
        if self.answers.takes == PATCHES:
            given["position_ids"] = self._positions(prompts, ids.shape[1])[:, :, len(shared) :]
        elif shared:
            given["position_ids"] = torch.arange(len(shared), ids.shape[1], device=ids.device)[None]
        hidden = self.model.model(**given)[0]
        ends = torch.tensor([len(prompt.ids) - 1 - len(shared) for prompt in prompts], device=ids.device)
        last = hidden[torch.arange(len(prompts), device=ids.device), ends].float()
        options = self._padded([prompt.answers for prompt in prompts], -1)
        head = self.model.get_output_embeddings()
        logits: Tensor = (head.weight[options.clamp(min=0)].float() @ last[:, :, None])[:, :, 0]
        if head.bias is not None:
            logits = logits + head.bias[options.clamp(min=0)].float()
        return logits.masked_fill(options < 0, VOID)

    def plain_logits(self, images: Float32, prompts: Sequence[Prompt], texts: Sequence[str]) -> Float32:
        """Compute the logits [b,c] by the processor and the whole model, one row after the other: the reference.

        Args:
            images: normalised pixels [b,3,h,w].
            prompts: what each row asks, with as many options in every row.
            texts: the same as `VlmFolder.text` gives it.
        """
        processor, rows = self.answers.processor, []
        geometry = self.answers.geometry
        off = {name: False for name in ("do_resize", "do_center_crop") if hasattr(processor.image_processor, name)}
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (geometry.mean, geometry.std))
        for image, prompt, text in zip(images, prompts, texts, strict=True):
            levels = torch.from_numpy(255.0 * (image * std + mean))
            read = processor(text=[text], images=[levels], return_tensors="pt", images_kwargs=off)
            with torch.inference_mode():
                rows.append(self.model(**read).logits[0, -1, list(prompt.answers)].float().numpy())
        return np.stack(rows)

    @cached_property
    def _cache_name(self) -> str:
        """The name by which this version of transformers takes keys and values."""
        names = inspect.signature(self.model.model.language_model.forward).parameters
        return "cache" if "cache" in names else "past_key_values"

    @property
    def _image_token(self) -> int:
        return int(self.model.config.image_token_id)

    @property
    def _filler(self) -> int:
        """A token that is not of a picture."""
        return int(self._image_token == 0)

    def _padded(self, rows: Sequence[tuple[int, ...]], filler: int) -> Tensor:
        """Put rows of different lengths into one tensor [b,length] on the device."""
        table = np.full((len(rows), max(map(len, rows))), filler, np.int64)
        for row, values in enumerate(rows):
            table[row, : len(values)] = values
        return torch.from_numpy(table).to(self.model.device)

    def _shared(self, prompts: Sequence[Prompt]) -> tuple[int, ...]:
        """Return the tokens before the picture that all prompts begin with."""
        columns = zip(*(one.ids[: one.ids.index(self._image_token)] for one in set(prompts)), strict=False)
        return tuple(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns))

    def _prefix(self, ids: tuple[int, ...], rows: int) -> Any:
        """Return keys and values of the text ``ids`` for a number of rows, which continue from them."""
        if ids not in self._prefixes:
            from transformers import DynamicCache

            text = self.model.model.language_model
            kept = DynamicCache(config=self.model.config.get_text_config())
            text(input_ids=self._padded([ids], 0), **{self._cache_name: kept})
            self._prefixes[ids] = kept
        self._prefixes.move_to_end(ids)
        if len(self._prefixes) > KEPT_PREFIXES:
            self._prefixes.popitem(last=False)
        own = deepcopy(self._prefixes[ids])
        own.batch_repeat_interleave(rows)
        return own

    def _picture(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return pixels [b,3,h,w] as the model takes them."""
        if self.answers.takes != PATCHES:
            return {"pixel_values": pixels}
        told = self.answers.processor.image_processor
        count, channels, side, _ = pixels.shape
        patch, merged, times = told.patch_size, told.merge_size, told.temporal_patch_size
        blocks = side // (patch * merged)
        cut = pixels.reshape(count, channels, blocks, merged, patch, blocks, merged, patch)
        flat = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)[:, :, :, :, :, :, None].expand(*[-1] * 6, times, -1, -1)
        grid = torch.tensor([[1, side // patch, side // patch]], device=pixels.device).repeat(count, 1)
        return {"pixel_values": flat.reshape(-1, channels * times * patch * patch), "image_grid_thw": grid}

    def _positions(self, prompts: Sequence[Prompt], length: int) -> Tensor:
        """Return the positions [3,b,length] of time, height and width: of a picture those of its square grid."""
        told = self.answers.processor.image_processor
        side = self.answers.geometry.size // (told.patch_size * told.merge_size)
        positions = np.empty((3, len(prompts), length), np.int64)
        high, wide = np.divmod(np.arange(side * side), side)
        for row, prompt in enumerate(prompts):
            start = prompt.ids.index(self._image_token)
            end = start + side * side
            positions[:, row, :start] = np.arange(start)
            positions[:, row, start:end] = start + np.stack([np.zeros_like(high), high, wide])
            positions[:, row, end:] = start + side + np.arange(length - end)
        return torch.from_numpy(positions).to(self.model.device)
