"""Generative models on PyTorch: a backend whose slots have a question beside their image."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from rate.backends.base import Backend, Prompt
from rate.backends.torch import BackendFacts, TorchBackend, TorchSpec
from rate.kernels.separable import Perturbation
from rate.types import Question, Rows

if TYPE_CHECKING:
    from torch import Tensor, nn

KEPT_PROMPTS = 4096
"""The number of questions whose tokens are kept; a question is read anew when it was not asked for so long."""


class Answerer(Protocol):
    """A generative model behind the perturbation."""

    def __call__(self, *inputs: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Compute the logits [b,c] of the first tokens of each row's options, each row with its own prompt."""

    def prompt(self, question: Question) -> Prompt:
        """See `rate.backends.base.Asked`."""


@dataclass(frozen=True, slots=True)
class AnsweringSpec(TorchSpec):
    """A generative model with the perturbation in front; ``load`` returns an `Answerer`."""

    @contextmanager
    def open(self, perturbation: Perturbation, slots: int) -> Iterator[Backend]:
        """Load the model and move it to the device; see `BackendSpec`."""
        with self.opened(AnsweringBackend, perturbation, slots) as backend:
            yield backend


class AnsweringBackend(TorchBackend):
    """An open `AnsweringSpec`; see `rate.backends.base.Asked`."""

    def __init__(self, load: Callable[[], nn.Module], facts: BackendFacts) -> None:
        super().__init__(load, facts)
        self._model = cast("Answerer", self._forward)
        self._prompts: dict[int, Prompt] = {}
        self._read: OrderedDict[Question, Prompt] = OrderedDict()
        self._reading = threading.Lock()  # samples are read by several threads, and a tokenizer is not made for that

    def prompt(self, question: Question) -> Prompt:
        """See `rate.backends.base.Asked`."""
        with self._reading:
            if question not in self._read:
                self._read[question] = self._model.prompt(question)
            self._read.move_to_end(question)
            if len(self._read) > KEPT_PROMPTS:
                self._read.popitem(last=False)
            return self._read[question]

    def ask(self, slot: int, prompt: Prompt) -> None:
        """See `rate.backends.base.Asked`."""
        self._prompts[slot] = prompt

    def _compute(self, rows: Rows, inputs: tuple[Tensor, ...]) -> Sequence[Tensor]:
        prompts = [self._prompts[slot] for slot in rows.slot.tolist()]
        return [self._model(*inputs, prompts=prompts)]
