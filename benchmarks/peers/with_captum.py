"""captum's Occlusion, 32 windows a forward. It has no RISE.

About 16 x 16 windows slide over the image, however many masks the others take. A window is a sixth of the side, filled
with the channel mean (zero in normalised pixels).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import torch
import worker
from captum.attr import Occlusion

SIDE = 16
"""Windows a side, at most."""


class Counting(torch.nn.Module):
    """The model, counting rows."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model, self.forwards = model, 0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Probabilities [b,c]."""
        self.forwards += len(pixels)
        return self.model(pixels)


class CaptumOcclusion:
    """The model and its images."""

    def __init__(self, setup: worker.Setup) -> None:
        self._model = Counting(worker.torch_model(setup))
        self._pixels, self._targets = torch.from_numpy(setup.pixels()), setup.targets
        self.about = {"version": version("captum"), "runtime": f"torch {torch.__version__}", "precision": "f32"}

    @torch.inference_mode()
    def predict(self, image: int) -> tuple[int, float]:
        """As `worker.Tool`."""
        scores = self._model(self._pixels[image][None])[0].numpy()
        return int(scores.argmax()), float(scores.max())

    @torch.inference_mode()
    def explain(self, images: Sequence[int], masks: int) -> worker.Explained:
        """As `worker.Tool`; ``masks`` says nothing here."""
        self._model.forwards, maps = 0, []
        size = self._pixels.shape[-1]
        window = max(1, size // 6)
        stride = max(1, -(-(size - window) // (SIDE - 1)))
        for image in images:
            found = Occlusion(self._model).attribute(
                self._pixels[image][None],
                sliding_window_shapes=(3, window, window),
                strides=(3, stride, stride),
                target=self._targets[image],
                perturbations_per_eval=worker.BATCH,
            )
            maps.append(found[0].sum(0).numpy())
        return worker.Explained(maps, self._model.forwards)


if __name__ == "__main__":
    worker.serve(CaptumOcclusion)
