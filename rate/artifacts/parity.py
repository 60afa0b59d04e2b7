"""The proof that an exported graph computes what the source computes, stored in `parity.npz`.

The reference is independent of the perturbed graph: images are masked and pasted on each other here in numpy, and given
to the bare model.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rate.artifacts.arrays import Expected, read_arrays
from rate.artifacts.artifact import PARITY, PARITY_INT8, PARITY_TOKENS, Artifact
from rate.artifacts.records import Parity
from rate.backends.base import Backend, BackendSpec, Logits
from rate.errors import ArtifactError, ParityError
from rate.kernels.rise import Rise
from rate.kernels.separable import Perturbation, rise
from rate.kernels.tokens import RiseTokens
from rate.types import GRID, INSIDE, OUTSIDE, Float32, Float64, Int64, Rows

TOLERANCE = 1e-4
"""The largest accepted difference of an f32 logit."""

COSINE = 0.999
"""The smallest accepted cosine of a row of logits in a lower precision."""

IMAGES = 3
"""The number of images of a sample; the slot behind them holds zeros."""

_MASKS, _SIDE = 5, 7


@dataclass(frozen=True, slots=True, eq=False)
class ParitySample:
    """Fixed inputs with the logits of the bare source."""

    perturbation: Perturbation
    images: Float32  # [i,3,h,w] normalised; the last one is zeros
    region: Float32  # [i,h,w] a region of each, with soft edges
    rows: Rows  # unmasked, fully masked, RISE masks on zeros and on an image, and regions inside and outside
    logits: Logits  # head -> [b,c]


def problems(parity: Parity) -> list[str]:
    """List the violations of parity, one sentence each; f32 is judged by size, other precisions by direction."""
    if parity.precision == "f32":
        wrong = {head: value for head, value in parity.max_abs.items() if not value <= TOLERANCE}
        return [f"logits_{head} differ by up to {value:.2e}, allowed is {TOLERANCE:g}" for head, value in wrong.items()]
    failed = [
        f"logits_{head} have a cosine of {value:.5f} to the f32 ones, at least {COSINE} is needed"
        for head, value in parity.cosine.items()
        if not value >= COSINE
    ]
    return failed + [f"logits_{head} put another class first" for head, same in parity.top1.items() if not same]


def make_sample(size: int, logits: Callable[[Float32], Logits], photographs: Float32 | None = None) -> ParitySample:
    """Make the sample of a model for ``size`` x ``size`` pixels.

    Args:
        size: side of the square image, pixels.
        logits: the bare model, pixels [b,3,h,w] -> logits [b,c] per head.
        photographs: `IMAGES` normalised photographs [i,3,h,w], for a graph calibrated on such; else smooth noise.
    """
    method = Rise(size, min(_SIDE, size), (0.5,), "fixed", _MASKS, 0)
    perturbation = method.perturbation
    images = _with_zeros(_images(perturbation) if photographs is None else photographs)
    clean = perturbation.clean
    rows = _with_swaps(_rows(method, np.stack([clean, np.zeros_like(clean)])))
    region = _regions(method)
    return ParitySample(perturbation, images, region, rows, logits(perturbed(perturbation, images, region, rows)))


def make_token_sample(size: int, patches: int, logits: Callable[[Float32, Rows], Logits]) -> ParitySample:
    """Make the sample of a token graph: unmasked images, and masks that keep half of the patches.

    Args:
        size: side of the square image, pixels.
        patches: patches per side.
        logits: the source on the kept patches: images [i,3,h,w] and rows -> logits [b,c] per head.
    """
    method = RiseTokens(size, patches, (0.5,), "fixed", _MASKS, 0)
    images = _with_zeros(_images(rise(size, min(_SIDE, size))))
    rows = _rows(method, np.stack([method.perturbation.clean] * 2))
    return ParitySample(method.perturbation, images, np.zeros_like(images[:, 0]), rows, logits(images, rows))


def _rows(method: Rise, first: Float32) -> Rows:
    """Make rows with the grids ``first`` [n,s,s], then with the masks of ``method``, over all images in turn."""
    drawn = method.draw("parity", 0, _MASKS)
    grid = np.concatenate([first, drawn.grid])
    offset = np.concatenate([np.zeros((len(first), 2), np.int64), drawn.offset])
    return Rows.under_masks(np.arange(len(grid), dtype=np.int64) % IMAGES, grid, offset, fill=IMAGES)


def _with_swaps(rows: Rows) -> Rows:
    """Append rows that paste a part of every image on the next one: the cells of the last grid, the region, the rest.

    The last grid is also that of the rows in which it is ignored, so a graph that mixes up the sides is found out.
    """
    side = np.repeat(np.array([GRID, INSIDE, OUTSIDE], np.int64), IMAGES)
    slot = np.arange(len(side), dtype=np.int64) % IMAGES
    last = rows[np.full(len(side), len(rows) - 1)]
    return Rows(
        np.concatenate([rows.slot, slot]),
        np.concatenate([rows.grid, last.grid]),
        np.concatenate([rows.offset, last.offset]),
        np.concatenate([rows.fill, (slot + 1) % IMAGES]),
        np.concatenate([rows.side, side]),
    )


def perturbed(perturbation: Perturbation, images: Float32, region: Float32, rows: Rows) -> Float32:
    """Compute the image [3,h,w] of every row in full size: fill + kept * (image - fill), [b,3,h,w]."""
    table = perturbation.table.astype(np.float64)
    tall, wide = table[rows.offset[:, 0]], table[rows.offset[:, 1]]
    masks = perturbation.a + perturbation.b * (tall @ rows.grid @ wide.transpose(0, 2, 1))
    inside = region[rows.slot].astype(np.float64)
    kept = np.choose(rows.side[:, None, None], [masks, inside, 1.0 - inside])[:, None]
    fill = images[rows.fill].astype(np.float64)
    return np.asarray(fill + kept * (images[rows.slot] - fill), np.float32)


def save_sample(sample: ParitySample, folder: Path, name: str = PARITY) -> None:
    """Write `parity.npz`, or another ``name``."""
    rows, perturbation = sample.rows, sample.perturbation
    arrays: dict[str, Any] = {
        "images": sample.images,
        "region": sample.region,
        "slot": rows.slot,
        "grid": rows.grid,
        "offset": rows.offset,
        "fill": rows.fill,
        "side": rows.side,
        "table": perturbation.table,
        "a": np.float32(perturbation.a),
        "b": np.float32(perturbation.b),
        "clean": perturbation.clean,
    }
    arrays |= {f"logits_{head}": values for head, values in sample.logits.items()}
    np.savez(folder / name, **arrays)


def load_sample(artifact: Artifact, form: str = "pixels", precision: str = "f32") -> ParitySample:
    """Read the parity sample of an artifact's graph, of another form of it, or of its int8 graph.

    Raises:
        ArtifactError: an array is missing or malformed.
    """
    own = PARITY_INT8 if precision == "int8" else PARITY
    path = artifact.path / (PARITY_TOKENS if form == "tokens" else own)
    try:
        arrays = read_arrays(path, _expected(artifact))
        perturbation = Perturbation("parity", arrays["table"], float(arrays["a"]), float(arrays["b"]), arrays["clean"])
        rows = Rows(*(arrays[name] for name in ("slot", "grid", "offset", "fill", "side")))
        places = len(arrays["images"])
        for values, count in (
            (rows.slot, places),
            (rows.fill, places),
            (rows.side, OUTSIDE + 1),
            (rows.offset, perturbation.offsets),
        ):
            if not len(rows) or values.min() < 0 or values.max() >= count:
                raise ValueError(f"its rows name places outside the {count} there are")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ArtifactError(f"{path} is malformed ({error}); export the artifact again") from error
    return ParitySample(
        perturbation,
        arrays["images"],
        arrays["region"],
        rows,
        {head.name: arrays[head.output] for head in artifact.heads},
    )


def _expected(artifact: Artifact) -> dict[str, Expected]:
    size = artifact.geometry.size
    arrays: dict[str, Expected] = {
        "images": ("f", ("i", 3, size, size)),
        "region": ("f", ("i", size, size)),
        "slot": ("i", ("b",)),
        "fill": ("i", ("b",)),
        "side": ("i", ("b",)),
        "grid": ("f", ("b", "s", "s")),
        "offset": ("i", ("b", 2)),
        "table": ("f", ("t", size, "s")),
        "clean": ("f", ("s", "s")),
        "a": ("f", ()),
        "b": ("f", ()),
    }
    return arrays | {head.output: ("f", ("b", len(head.classes))) for head in artifact.heads}


def check_parity(artifact: Artifact, spec: BackendSpec, form: str = "pixels") -> Parity:
    """Run `judge` on an artifact's own sample; ``form`` is that of the graph of ``spec``.

    Raises:
        ParityError: the backend's logits are too far from the source's for its precision.
        BackendError: the backend failed.
    """
    return judge(load_sample(artifact, form, spec.precision), spec)


def judge(sample: ParitySample, spec: BackendSpec, precision: str | None = None) -> Parity:
    """Run ``spec`` on the sample: unchanged, one row alone, and in other slots with another batch size.

    ``precision``: the precision whose limits apply; None = that of ``spec``.

    Raises:
        ParityError: see `check_parity`.
    """
    images, count, spare = len(sample.images), len(sample.rows), 2
    with spec.open(sample.perturbation, images) as backend:
        distances = [_as_it_is(backend, sample), _measure(backend, sample, np.arange(count)[-1:], 0)]
        backend.bind(sample.perturbation, images + spare)
        _put(backend, sample, spare)
        distances.append(_measure(backend, sample, np.arange(count + 4) % count, spare))
        return _judged(backend, distances, precision or spec.precision)


def self_test(sample: ParitySample, backend: Backend) -> Parity:
    """Run an open ``backend``, bound to the masks of ``sample``, on the unchanged sample.

    Raises:
        ParityError: its logits are too far from the source's for its precision.
        BackendError: it failed.
    """
    return _judged(backend, [_as_it_is(backend, sample)], backend.precision)


def _as_it_is(backend: Backend, sample: ParitySample) -> dict[str, _Distance]:
    _put(backend, sample, 0)
    return _measure(backend, sample, np.arange(len(sample.rows)), 0)


def _judged(backend: Backend, distances: list[dict[str, _Distance]], precision: str) -> Parity:
    parity = _worst(distances, precision, f"{backend.name} {backend.version}")
    if wrong := problems(parity):
        raise ParityError(
            f"{backend.name} in {precision} does not reproduce the source model: {'; '.join(wrong)}; "
            "use another --backend or --precision, or report the model"
        )
    return parity


@dataclass(frozen=True, slots=True)
class _Distance:
    max_abs: float
    cosine: float
    top1: bool


def _put(backend: Backend, sample: ParitySample, first: int) -> None:
    for slot, (pixels, region) in enumerate(zip(sample.images, sample.region, strict=True), first):
        backend.put(slot, pixels, region)


def _measure(backend: Backend, sample: ParitySample, chosen: Int64, shift: int) -> dict[str, _Distance]:
    logits = backend.submit(sample.rows[chosen].shifted(shift)).wait()
    return {head: _distance(logits[head], expected[chosen]) for head, expected in sample.logits.items()}


def _distance(actual: Float32, expected: Float32) -> _Distance:
    if actual.shape != expected.shape or not (np.isfinite(actual) & np.isfinite(expected)).all():
        return _Distance(math.inf, -1.0, False)
    ours, theirs = actual.astype(np.float64), expected.astype(np.float64)
    max_abs = float(np.abs(ours - theirs).max())
    ordered = np.sort(theirs, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > max_abs if theirs.shape[1] > 1 else np.zeros(len(theirs), np.bool_)
    return _Distance(
        max_abs, _smallest_cosine(ours, theirs), bool((ours.argmax(axis=1) == theirs.argmax(axis=1))[clear].all())
    )


def _smallest_cosine(ours: Float64, theirs: Float64) -> float:
    """Compute the smallest cosine over the rows [b,c]; for two rows of zeros it is 1, for one it is 0."""
    norms = np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1)
    both_zero = (norms[0] == 0) & (norms[1] == 0)
    product = np.where(norms[0] * norms[1] > 0, norms[0] * norms[1], 1.0)
    return float(np.where(both_zero, 1.0, (ours * theirs).sum(axis=1) / product).min())


def _worst(distances: list[dict[str, _Distance]], precision: str, runtime: str) -> Parity:
    heads = distances[0]
    return Parity(
        max_abs={head: max(one[head].max_abs for one in distances) for head in heads},
        cosine={head: min(one[head].cosine for one in distances) for head in heads},
        top1={head: all(one[head].top1 for one in distances) for head in heads},
        precision=precision,
        runtime=runtime,
    )


def _with_zeros(images: Float32) -> Float32:
    return np.concatenate([images, np.zeros_like(images[:1])])


def _regions(method: Rise) -> Float32:
    """Make a region with soft edges for every image and for the zeros behind them, [i,h,w]."""
    table = method.perturbation.table.astype(np.float64)
    drawn = method.draw("parity regions", 0, IMAGES + 1)
    tall, wide = table[drawn.offset[:, 0]], table[drawn.offset[:, 1]]
    return np.asarray((tall @ drawn.grid @ wide.transpose(0, 2, 1)).clip(0.0, 1.0), np.float32)


def _images(perturbation: Perturbation) -> Float32:
    """Make fixed smooth images [i,3,h,w] with about the brightness of normalised photographs."""
    table = perturbation.table[0].astype(np.float64)
    coarse = np.random.default_rng(0).normal(0.0, 1.5, (IMAGES, 3, perturbation.side, perturbation.side))
    return np.asarray((table @ coarse @ table.T).clip(-2.5, 2.5), np.float32)
