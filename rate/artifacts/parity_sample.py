"""The fixed inputs on which runtimes and precisions are compared with the source, stored in `parity.npz`.

They are pictures of objects, each unmasked, under a mask, and swapped with the other pictures along the object's
region. So a graph's scores, predictions and verdicts on them mean what they mean in a run; on noise, a tower leaves the
data that it knows, and bf16 is much less accurate there.

The reference is independent of the perturbed graph: images are masked and pasted on each other here in numpy, and given
to the bare model.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rate.artifacts.arrays import Expected, read_arrays
from rate.artifacts.artifact import PARITY, PARITY_INT8, PARITY_TOKENS, Artifact
from rate.backends.base import Asked, Backend, Logits, Prompt
from rate.data.images.geometry import Geometry
from rate.data.make.synth import Synthetic, picture
from rate.errors import ArtifactError
from rate.kernels.region import soften_region
from rate.kernels.rise import Rise
from rate.kernels.separable import Perturbation
from rate.kernels.tokens import RiseTokens
from rate.types import GRID, INSIDE, OUTSIDE, Float32, Int64, Picture, Rows, SoftRegion, UInt8

PICTURES = 4
"""The number of pictures of a sample; the slot behind them holds the mean colour."""

ASKED_PICTURES = 2
"""The number of pictures of the sample of a generative model."""

ASKED_HEAD = "answer"
"""The name of the only head of a generative model."""

View = tuple[Picture, SoftRegion]
"""A picture in the size of the model and the region along which it is swapped."""

_SIDE = 7
_NO_TOKEN = -1
_PICTURE = ("levels", "zero", "scale")
_TOKEN_MASKS = 3  # of a picture, in the sample of a token graph
_EDGE = 0.05  # how far the region of a drawn object is grown, and how soft its edge is, as shares of the side


@dataclass(frozen=True, slots=True, eq=False)
class ParitySample:
    """Fixed inputs with the logits of the bare source."""

    perturbation: Perturbation
    pictures: tuple[Picture, ...]  # the last one is of the mean colour
    region: UInt8  # [i,h,w] the region of each
    rows: Rows  # those of one picture follow each other, the unmasked one first
    logits: Logits  # head -> [b,c]

    @property
    def images(self) -> Float32:
        """What a model sees of the pictures, [i,3,h,w]."""
        return _images(self.pictures)

    def put(self, backend: Backend, first: int = 0) -> None:
        """Put the pictures and their regions into the slots of ``backend`` from the ``first`` one on."""
        for slot, (shown, region) in enumerate(zip(self.pictures, self.region, strict=True), first):
            backend.put(slot, shown, region)


@dataclass(frozen=True, slots=True, eq=False)
class AskedSample(ParitySample):
    """Fixed inputs of a generative model; a picture's rows ask its question."""

    prompts: tuple[Prompt, ...]  # of each picture, that of the mean colour included

    def put(self, backend: Backend, first: int = 0) -> None:
        """Put the pictures, their regions and their questions into the slots of ``backend`` from ``first`` on."""
        ParitySample.put(self, backend, first)
        assert isinstance(backend, Asked), "a generative model is asked"
        for slot, prompt in enumerate(self.prompts, first):
            backend.ask(slot, prompt)


def make_asked_sample(
    geometry: Geometry, prompts: Sequence[Prompt], logits: Callable[[Float32, Int64], Float32]
) -> AskedSample:
    """Make the sample of a generative model, of fewer pictures: each of its forwards takes long.

    Args:
        geometry: the input of the model.
        prompts: questions with equally many options, which the pictures ask in turn.
        logits: the bare model, pixels [b,3,h,w] and the picture [b] whose question each row asks -> logits [b,c].
    """
    method = Rise(geometry.size, min(_SIDE, geometry.size), (0.5,), "fixed", ASKED_PICTURES, 0)
    shown, region = _slots(list(drawn_pictures(geometry))[:ASKED_PICTURES])
    rows, perturbation = _swapped_rows(method, ASKED_PICTURES), method.perturbation
    images = perturbed(perturbation, _images(shown), region, rows)
    asked = tuple(prompts[slot % len(prompts)] for slot in range(len(shown)))
    return AskedSample(perturbation, shown, region, rows, {ASKED_HEAD: logits(images, rows.slot)}, asked)


def make_sample(
    geometry: Geometry, logits: Callable[[Float32], Logits], pictures: Sequence[View] | None = None
) -> ParitySample:
    """Make the sample of a model.

    Args:
        geometry: the input of the model.
        logits: the bare model, pixels [b,3,h,w] -> logits [b,c] per head.
        pictures: photographs, for a graph calibrated on such; they are repeated if there are too few. None = drawn
            ones.
    """
    method = Rise(geometry.size, min(_SIDE, geometry.size), (0.5,), "fixed", PICTURES, 0)
    chosen = list(drawn_pictures(geometry)) if pictures is None else pictures
    shown, region = _slots([chosen[k % len(chosen)] for k in range(PICTURES)])
    rows, perturbation = _swapped_rows(method), method.perturbation
    return ParitySample(
        perturbation, shown, region, rows, logits(perturbed(perturbation, _images(shown), region, rows))
    )


def make_token_sample(geometry: Geometry, patches: int, logits: Callable[[Float32, Rows], Logits]) -> ParitySample:
    """Make the sample of a token graph: unmasked images, and masks that keep half of the patches.

    Args:
        geometry: the input of the model.
        patches: patches per side.
        logits: the source on the kept patches: images [i,3,h,w] and rows -> logits [b,c] per head.
    """
    method = RiseTokens(geometry.size, patches, (0.5,), "fixed", PICTURES * _TOKEN_MASKS, 0)
    shown, region = _slots(list(drawn_pictures(geometry)))
    rows = _token_rows(method)
    return ParitySample(method.perturbation, shown, region, rows, logits(_images(shown), rows))


def drawn_pictures(geometry: Geometry) -> Iterator[View]:
    """Draw `PICTURES` pictures of different objects in different scenes, as a model for this input sees them."""
    side = min(max(geometry.size, 32), 2048)
    for number in range(PICTURES):
        drawn = picture(Synthetic(size=side, shortcut="none", smallest=0.1), "parity", number)
        image = Image.fromarray((drawn.pixels * 255).round().astype(np.uint8))
        edge = _EDGE * geometry.size
        yield geometry.image_to_picture(image), soften_region(geometry.region_from_mask(drawn.mask), edge, edge)


def _slots(views: Sequence[View]) -> tuple[tuple[Picture, ...], UInt8]:
    """Return what the slots hold: the pictures, then the mean colour, which has no region; regions are [i,h,w]."""
    pictures, regions = zip(*views, strict=True)
    mean = Picture.of_colour(np.zeros(3, np.float32), len(regions[0]))
    return (*pictures, mean), np.stack([*regions, np.zeros_like(regions[0])])


def _images(pictures: Sequence[Picture]) -> Float32:
    return np.stack([picture.pixels for picture in pictures])


def _swapped_rows(method: Rise, pictures: int = PICTURES) -> Rows:
    """Make the rows of every picture: unmasked, under a mask, and swapped with every other one along its region.

    A masked row shows zeros or the next picture where pixels are hidden; that of the last picture hides all of them.
    None is blank: no swap is, and a tower can be much less accurate there than on any picture. The rows of a region
    carry the grid of a mask, too, so a graph that mixes up the sides is found.
    """
    drawn = method.draw("parity", 0, pictures)
    clean, nothing = method.perturbation.clean, np.zeros(2, np.int64)
    rows: list[tuple[Any, ...]] = []
    for k in range(pictures):
        rows.append((k, clean, nothing, pictures, GRID))
        mask = np.zeros_like(clean) if k == pictures - 1 else drawn.grid[k]
        rows.append((k, mask, drawn.offset[k], (k + 1) % pictures if k >= pictures // 2 else pictures, GRID))
        for step in range(1, pictures):
            other = (k + step) % pictures
            rows += [(k, drawn.grid[k], drawn.offset[k], other, side) for side in (INSIDE, OUTSIDE)]
    slot, grid, offset, fill, side = (np.array(values) for values in zip(*rows, strict=True))
    return Rows(slot, grid.astype(np.float32), offset, fill, side)


def _token_rows(method: RiseTokens) -> Rows:
    drawn = method.draw("parity", 0, PICTURES * _TOKEN_MASKS)
    clean, each = method.perturbation.clean[None], 1 + _TOKEN_MASKS
    grids = [np.concatenate([clean, grid]) for grid in np.split(drawn.grid, PICTURES)]
    offsets = [np.concatenate([np.zeros((1, 2), np.int64), offset]) for offset in np.split(drawn.offset, PICTURES)]
    slot = np.repeat(np.arange(PICTURES, dtype=np.int64), each)
    return Rows.under_masks(slot, np.concatenate(grids).astype(np.float32), np.concatenate(offsets), fill=PICTURES)


def perturbed(perturbation: Perturbation, images: Float32, region: UInt8, rows: Rows) -> Float32:
    """Compute the image [3,h,w] of every row in full size: fill + kept * (image - fill), [b,3,h,w]."""
    table = perturbation.table.astype(np.float64)
    tall, wide = table[rows.offset[:, 0]], table[rows.offset[:, 1]]
    masks = perturbation.a + perturbation.b * (tall @ rows.grid @ wide.transpose(0, 2, 1))
    inside = region[rows.slot] / 255.0
    kept = np.choose(rows.side[:, None, None], [masks, inside, 1.0 - inside])[:, None]
    fill = images[rows.fill].astype(np.float64)
    return np.asarray(fill + kept * (images[rows.slot] - fill), np.float32)


def save_sample(sample: ParitySample, folder: Path, name: str = PARITY) -> None:
    """Write `parity.npz`, or another ``name``."""
    rows, perturbation = sample.rows, sample.perturbation
    arrays: dict[str, Any] = {
        **{name: np.stack([getattr(one, name) for one in sample.pictures]) for name in _PICTURE},
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
    if isinstance(sample, AskedSample):
        longest = max(len(prompt.ids) for prompt in sample.prompts)
        ids = [prompt.ids + (_NO_TOKEN,) * (longest - len(prompt.ids)) for prompt in sample.prompts]
        arrays |= {"ids": np.array(ids), "answers": np.array([prompt.answers for prompt in sample.prompts])}
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
        pictures = tuple(Picture(*one) for one in zip(*(arrays[name] for name in _PICTURE), strict=True))
        places = len(pictures)
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
    logits = {head.name: arrays[head.output] for head in artifact.heads}
    if not artifact.asks:
        return ParitySample(perturbation, pictures, arrays["region"], rows, logits)
    both = zip(arrays["ids"].tolist(), arrays["answers"].tolist(), strict=True)
    prompts = tuple(Prompt(tuple(one for one in ids if one != _NO_TOKEN), tuple(answers)) for ids, answers in both)
    return AskedSample(perturbation, pictures, arrays["region"], rows, logits, prompts)


def _expected(artifact: Artifact) -> dict[str, Expected]:
    size = artifact.geometry.size
    arrays: dict[str, Expected] = {
        "levels": ("u", ("i", 3, size, size)),
        "zero": ("f", ("i", 3)),
        "scale": ("f", ("i", 3)),
        "region": ("u", ("i", size, size)),
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
    if artifact.asks:
        arrays |= {"ids": ("i", ("i", "l")), "answers": ("i", ("i", "o"))}
    return arrays | {head.output: ("f", ("b", len(head.classes) or "o")) for head in artifact.heads}
