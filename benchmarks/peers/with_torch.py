"""RISE as its paper defines it, in a few lines of plain torch: what one would write without a tool.

Grids of s x s cells, each kept with probability p, are stretched bilinearly to (s + 1) cells of the image and cropped
at a random offset; the map is the mean of the masks weighted with the class's probability, over p. The borders of the
stretched grids are clamped, where the authors' scikit-image mirrors them; it costs the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import worker


def rise_masks(count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Masks [n,1,h,w] in [0, 1]."""
    cell = -(-size // worker.GRID)
    grids = (torch.rand(count, 1, worker.GRID, worker.GRID, generator=generator) < worker.KEEP).float()
    stretched = torch.nn.functional.interpolate(
        grids, size=((worker.GRID + 1) * cell,) * 2, mode="bilinear", align_corners=False
    )
    offsets = torch.randint(0, cell, (count, 2), generator=generator).tolist()
    return torch.stack([mask[:, y : y + size, x : x + size] for mask, (y, x) in zip(stretched, offsets, strict=True)])


class TorchRise:
    """The model and its images."""

    def __init__(self, setup: worker.Setup) -> None:
        self._model = worker.torch_model(setup)
        self._pixels, self._targets = torch.from_numpy(setup.pixels()), setup.targets
        self.about = {"version": torch.__version__, "runtime": f"torch {torch.__version__}", "precision": "f32"}

    @torch.inference_mode()
    def predict(self, image: int) -> tuple[int, float]:
        """As `worker.Tool`."""
        scores = self._model(self._pixels[image][None])[0].numpy()
        return int(scores.argmax()), float(scores.max())

    @torch.inference_mode()
    def explain(self, images: Sequence[int], masks: int) -> worker.Explained:
        """As `worker.Tool`."""
        return worker.Explained([self._map(image, masks) for image in images], masks * len(images))

    def _map(self, image: int, masks: int) -> np.ndarray:
        pixels, size = self._pixels[image], self._pixels.shape[-1]
        generator = torch.Generator().manual_seed(0)
        total = torch.zeros(size, size)
        for start in range(0, masks, worker.BATCH):
            drawn = rise_masks(min(worker.BATCH, masks - start), size, generator)
            scores = self._model(pixels * drawn)[:, self._targets[image]]
            total += torch.einsum("n,nhw->hw", scores, drawn[:, 0])
        return (total / masks / worker.KEEP).numpy()


if __name__ == "__main__":
    worker.serve(TorchRise)
