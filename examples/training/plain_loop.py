"""A plain training loop that keeps the weights whose right predictions rest on the object most often."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

import rate


def train(
    model: nn.Module,
    batches: Sequence[tuple[Tensor, Tensor]],
    validation: str,
    classes: Sequence[str],
    size: int,
    epochs: int = 10,
) -> Iterable[tuple[int, float, float | None]]:
    """Train, yield epoch, accuracy and PT after each epoch, and leave the best weights in ``model``.

    ``validation`` is a manifest with regions; PT is of its correct predictions the share on valid evidence.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    live = rate.open(model, classes=classes, size=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_pct=1.0)
    best, kept = -1.0, copy.deepcopy(model.state_dict())
    for epoch in range(epochs):
        model.train()
        for pixels, labels in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(pixels), labels).backward()
            optimizer.step()
        head = live.evaluate(validation, limit=500).heads["native"]
        accuracy, pt = head.accuracy.value or 0.0, head.pt.ratio.value
        yield epoch, accuracy, pt
        if accuracy * (pt or 0.0) > best:  # the share of all images that are right on valid evidence
            best, kept = accuracy * (pt or 0.0), copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
