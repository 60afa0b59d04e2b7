"""Every logit that the graded study needs of a model: renderings, swaps by region and fill, masks. Kept on disk."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend
from rate.backends.batches import clean_rows
from rate.backends.onnxruntime import OrtSpec
from rate.data.images.geometry import Geometry
from rate.data.make.synth import CLASSES
from rate.kernels.region import soften_region
from rate.kernels.rise import Rise
from rate.types import Bool, Float32, Int64

BATCH = 64
FILLS = 16
FEW = 8
POOL = 128
GEOMETRY = Geometry(64, 64, (0.5,) * 3, (0.25,) * 3)
"""As the encoders of the study are given pictures."""

CHOSEN = ("pictures", "covered", "covered quarter", "most covered")
METHOD = Rise(64, 7, (0.1, 0.3, 0.5, 0.7, 0.9), "fixed", 512, 0)

FORMS: dict[str, tuple[str, float, float]] = {
    "box": ("box", 0, 0),
    "box +2 soft 2": ("box", 2, 2),
    "mask": ("mask", 0, 0),
    "mask +2 soft 2": ("mask", 2, 2),
    "mask +4 soft 2": ("mask", 4, 2),
    "mask +6 soft 2": ("mask", 6, 2),
}
"""Name -> what is grown, by how many of 64 pixels, and over how many more it fades."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """The test pictures of a graded set as a model sees them."""

    folder: Path
    labels: Int64  # [n]
    pixels: Float32  # [n,3,h,w] normalised
    masks: Bool  # [n,h,w]
    renderings: Float32  # [n,22,3,h,w]
    parts: tuple[str, ...]  # [22] of each

    def region(self, form: str, k: int) -> Float32:
        """[h,w] the region of picture ``k`` in one of `FORMS`."""
        kind, by, soft = FORMS[form]
        region = self.masks[k]
        if kind == "box":
            rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
            region = np.zeros_like(region)
            region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        return soften_region(region, by, soft) / np.float32(255)

    @cached_property
    def order(self) -> Int64:
        """[n,n] for every picture the others in an order of its own: those of other classes first."""
        rng = np.random.default_rng(0)
        chance = rng.random((len(self.labels),) * 2)
        same = self.labels[:, None] == self.labels
        return np.asarray((chance + same + 2 * np.eye(len(same))).argsort(axis=1))

    def chosen(self, kind: str) -> Int64:
        """[n,f] the pictures that each picture meets.

        ``covered``: by chance from the eighth of `POOL` pictures whose own object the box hides most, so that a fill
        lends its scene to the object, and its object to the scene; from the quarter; or the most hidden ones.
        """
        if kind == "pictures":
            return self.order[:, :FILLS]
        pools, sizes = self.order[:, :POOL], self.masks.sum(axis=(1, 2))
        hidden = [
            (self.masks[pool] & (self.region("box", k) > 0.5)).sum(axis=(1, 2)) / sizes[pool]
            for k, pool in enumerate(pools)
        ]
        best = np.argsort(-np.array(hidden), axis=1, kind="stable")
        if kind != "most covered":
            best = np.sort(best[:, : POOL // (8 if kind == "covered" else 4)], axis=1)  # in the pool's order, by chance
        return np.take_along_axis(pools, best[:, :FILLS], axis=1)

    def fills(self, kind: str, k: int) -> Float32:
        """[f,3,h,w] what takes the place of picture ``k``'s pixels."""
        own = self.pixels[k]
        if kind in CHOSEN:
            return self.pixels[self.chosen(kind)[k]]
        if kind == "own class too":
            rng = np.random.default_rng([1, k])
            others = np.delete(np.arange(len(self.pixels)), k)
            return self.pixels[rng.choice(others, FEW, replace=False)]
        if kind == "mean":
            return np.zeros_like(own)[None]
        return np.broadcast_to(own.mean(axis=(1, 2), keepdims=True), own.shape)[None].astype(np.float32)


def read(folder: Path, count: int) -> Pictures:
    """The first ``count`` test pictures of a set with its renderings."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"][:count]
    parts: dict[str, list[tuple[str, str]]] = {}
    with (folder / "graded.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            parts.setdefault(row["id"], []).append((row["part"], row["image"]))
    return Pictures(
        folder=folder,
        labels=np.array([CLASSES.index(row["label"]) for row in rows]),
        pixels=np.stack([_pixels(folder / row["image"]) for row in rows]),
        masks=np.stack([np.asarray(Image.open(folder / row["mask"])) > 0 for row in rows]),
        renderings=np.stack([[_pixels(folder / image) for _, image in parts[row["id"]]] for row in rows]),
        parts=tuple(part for part, _ in parts[rows[0]["id"]]),
    )


def _pixels(path: Path) -> Float32:
    """As the encoders of the study are given them: mean 0.5, deviation 0.25."""
    return ((np.asarray(Image.open(path), np.float32) / 255 - 0.5) / 0.25).transpose(2, 0, 1)


class Scores:
    """Logits [..., c] of one model, by head; each kind is computed once and kept in ``folder``."""

    def __init__(self, artifact: Artifact, pictures: Pictures, folder: Path) -> None:
        self._artifact, self._pictures, self._folder = artifact, pictures, folder
        folder.mkdir(parents=True, exist_ok=True)

    def clean(self) -> dict[str, Float32]:
        """[n,c]"""
        return self._kept("clean", lambda k: self._pictures.pixels[k][None], squeeze=True)

    def renderings(self) -> dict[str, Float32]:
        """[n,22,c]"""
        return self._kept("renderings", lambda k: self._pictures.renderings[k])

    def swaps(self, form: str, fill: str, count: int) -> dict[str, Float32]:
        """[n,2,f,c] the region on each fill, then each fill in the region."""

        def both(k: int) -> Float32:
            x, region = self._pictures.pixels[k], self._pictures.region(form, k)
            fills = self._pictures.fills(fill, k)[:count]
            return np.concatenate([fills + region * (x - fills), x + region * (fills - x)])

        found = self._kept(f"swap {form} {fill} {count}", both)
        return {name: v.reshape(len(v), 2, -1, v.shape[-1]) for name, v in found.items()}

    def nothing(self, fill: str, count: int) -> dict[str, Float32]:
        """[n,f,c] the fills by themselves."""
        if fill in CHOSEN:
            return {name: v[self._pictures.chosen(fill)[:, :count]] for name, v in self.clean().items()}
        return self._kept(f"nothing {fill} {count}", lambda k: self._pictures.fills(fill, k)[:count])

    def masked(self, fill: str, pictures: int) -> dict[str, Float32]:
        """[n,m,c] under RISE's masks; with several fills they take turns."""

        def rows(k: int) -> Float32:
            x, fills = self._pictures.pixels[k], self._pictures.fills(fill, k)[:FEW]
            masks = METHOD.draw(f"test/{k:06d}", 0, METHOD.count)
            table = METHOD.perturbation.table
            m = table[masks.offset[:, 0]] @ masks.grid @ table[masks.offset[:, 1]].transpose(0, 2, 1)
            turn = fills[np.arange(METHOD.count) // len(METHOD.keep) % len(fills)]
            return turn + m[:, None] * (x - turn)

        return self._kept(f"masked {fill} {pictures}", rows, pictures)

    def _kept(
        self, name: str, rows: Callable[[int], Float32], count: int | None = None, squeeze: bool = False
    ) -> dict[str, Float32]:
        path = self._folder / f"{name.replace(' ', '_')}.npz"
        if not path.exists():
            with OrtSpec(self._artifact.graph("pixels"), 1).open(METHOD.perturbation, BATCH) as backend:
                found = [_forward(backend, rows(k)) for k in range(count or len(self._pictures.pixels))]
            np.savez(path, **{head: np.stack([one[head] for one in found]) for head in found[0]})
        with np.load(path) as stored:
            return {head: stored[head][:, 0] if squeeze else stored[head] for head in stored.files}


def _forward(backend: Backend, images: Float32) -> dict[str, Float32]:
    """Logits [m,c] of pictures [m,3,h,w], rounded to levels."""
    parts = []
    for start in range(0, len(images), BATCH):
        some = images[start : start + BATCH].astype(np.float32)
        for slot, pixels in enumerate(some):
            backend.put(slot, GEOMETRY.picture(np.rint(255 * (pixels * 0.25 + 0.5)).clip(0, 255).astype(np.uint8)))
        parts.append(backend.submit(clean_rows(METHOD.perturbation, np.arange(len(some)))).wait())
    return {head: np.concatenate([part[head] for part in parts]) for head in parts[0]}
