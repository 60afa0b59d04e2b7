"""Features of a frozen tower, computed once for every image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from rate.backends.process import torch_threads, usable_cores
from rate.data.images.prepare import prepare
from rate.engine.outcome import Outcome
from rate.engine.prefetch import Prefetch
from rate.errors import DataError
from rate.types import Float32, Sample

if TYPE_CHECKING:
    from rate.export.sources.source_model import SourceModel

FORWARD_BATCH = 32  # images per forward; the results do not depend on it


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The features of the samples that could be read."""

    values: torch.Tensor  # f32 [n,d]
    labels: tuple[str, ...]  # [n]
    failed: tuple[tuple[str, str], ...]  # id and message of the samples left out


def extract(
    model: SourceModel,
    samples: Sequence[Sample],
    threads: int,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> Features:
    """Compute the features of ``samples`` in their order, decoded and prepared as for an evaluation.

    Args:
        model: its tower is used in eval mode and not changed.
        samples: rows of a manifest.
        threads: threads of the decoders and of torch; 0 = the cores this process may use.
        tick: receives (samples done, total).

    Raises:
        DataError: no sample could be read; the message names the first.
    """
    threads = threads or usable_cores()
    values: list[torch.Tensor] = []
    labels: list[str] = []
    failed: list[tuple[str, str]] = []
    read = partial(prepare, geometry=model.geometry)
    with torch_threads(threads), Prefetch(samples, read, threads, ahead=2 * FORWARD_BATCH) as ahead:
        pixels: list[Float32] = []
        for done in range(1, len(samples) + 1):
            if (prepared := ahead.next()) is None:
                break
            if isinstance(prepared, Outcome):
                failed.append((prepared.sample.id, str(prepared.error)))
            else:
                labels.append(prepared.sample.label)
                pixels.append(prepared.picture.pixels)
            if len(pixels) == FORWARD_BATCH or (done == len(samples) and pixels):
                values.append(_forward(model, pixels))
                pixels = []
            tick(done, len(samples))
    if not values:
        raise DataError(f"none of the {len(samples)} samples could be read; the first: {failed[0][1]}")
    return Features(torch.cat(values), tuple(labels), tuple(failed))


def _forward(model: SourceModel, pixels: list[Float32]) -> torch.Tensor:
    with torch.inference_mode():
        features: torch.Tensor = model.tower(torch.from_numpy(np.stack(pixels)))
    return features.clone()
