"""Batches of a token graph, in which every row keeps equally many patches.

A batch of the engine mixes masks, which all keep the same number of patches, with clean images, which keep all of
them. This module splits it. Each clean image is a forward of its own, and below f32 the masks are padded to the size
of the whole batch, so the composition of a batch changes no logit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rate.backends.base import Graph, Logits, Pending
from rate.errors import BackendError
from rate.kernels.separable import Perturbation
from rate.types import Int64, Rows


@dataclass(frozen=True, slots=True, eq=False)
class SubBatch:
    """The rows of a batch that keep equally many patches."""

    at: Int64  # [m] the indices of the rows in the batch
    taken: Int64  # [m] the index of the computed row for each of them
    slot: Int64  # [n] n < m where equal rows are computed once, n > m with padding
    kept: Int64  # [n,k] kept patches, row-major, ascending

    @property
    def feeds(self) -> dict[str, np.ndarray]:
        """The graph's inputs except the pixels."""
        return {"slot": self.slot, "kept": self.kept}


def split(rows: Rows, pad: bool) -> list[SubBatch]:
    """Split a batch into parts; those that keep the most patches come first.

    Args:
        rows: the grids [b,s,s] mark the kept patches.
        pad: whether to pad the masks of a part to b rows.
    """
    bits = rows.grid.reshape(len(rows), -1) > 0
    counts = bits.sum(axis=1)
    batches: list[SubBatch] = []
    for count in np.unique(counts)[::-1]:
        at = np.flatnonzero(counts == count)
        kept = np.nonzero(bits[at])[1].reshape(len(at), count)
        if count == bits.shape[1]:
            for slot in np.unique(rows.slot[at]):
                same = at[rows.slot[at] == slot]
                batches.append(SubBatch(same, np.zeros(len(same), np.int64), np.array([slot]), kept[:1]))
        else:
            source = np.resize(np.arange(len(at)), len(rows)) if pad else np.arange(len(at))
            batches.append(SubBatch(at, np.arange(len(at)), rows.slot[at][source], kept[source]))
    return batches


def join(rows: int, results: Iterable[tuple[SubBatch, Logits]]) -> Logits:
    """Assemble the logits [b,c] of a batch of ``rows`` rows from those of its parts."""
    joined: Logits = {}
    for part, logits in results:
        for head, values in logits.items():
            whole = joined.setdefault(head, np.empty((rows, values.shape[1]), np.float32))
            whole[part.at] = values[part.taken]
    return joined


@dataclass(frozen=True, slots=True, eq=False)
class SplitPending:
    """A batch whose last part is in flight."""

    rows: int
    done: list[tuple[SubBatch, Logits]]
    part: SubBatch
    pending: Pending

    @property
    def idle_s(self) -> float:
        """See `Pending`; that of the last part."""
        return self.pending.idle_s

    def wait(self) -> Logits:
        """Wait for the last part; see `Pending`."""
        return join(self.rows, [*self.done, (self.part, self.pending.wait())])


def check_patches(graph: Graph, perturbation: Perturbation) -> None:
    """Refuse masks whose grid is not the model's grid of patches.

    Raises:
        BackendError: the graph is a token graph with another number of patches per side.
    """
    if graph.patches is not None and graph.patches != perturbation.side:
        raise BackendError(
            f"{graph.path} has {graph.patches} patches a side, the masks are made for {perturbation.side}; "
            "a token graph takes the masks of --saliency rise-tokens alone"
        )
