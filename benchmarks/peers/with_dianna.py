"""dianna's RISE around a function that keeps its ONNX Runtime session, batches of 32.

Given the path of a model it would open a session for every batch; given no p_keep it would search for one with 900
more forwards. The function returns the explained class alone: the package makes a map of every class it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import dianna
import numpy as np
import worker


class Dianna:
    """A session and its images."""

    def __init__(self, setup: worker.Setup) -> None:
        self._pixels, self._targets, self._model = setup.pixels(), setup.targets, worker.OnnxModel(setup)
        self.about = {
            "version": version("dianna"),
            "runtime": f"onnxruntime {version('onnxruntime')}",
            "precision": "f32",
        }

    def predict(self, image: int) -> tuple[int, float]:
        """As `worker.Tool`."""
        scores = self._model(self._pixels[image][None])[0]
        return int(scores.argmax()), float(scores.max())

    def explain(self, images: Sequence[int], masks: int) -> worker.Explained:
        """As `worker.Tool`."""
        self._model.forwards = 0
        maps = [self._map(image, masks) for image in images]
        return worker.Explained(maps, self._model.forwards)

    def _map(self, image: int, masks: int) -> np.ndarray:
        target = self._targets[image]
        found = dianna.explain_image(
            lambda pixels: self._model(pixels)[:, target : target + 1],
            self._pixels[image],
            method="RISE",
            labels=[0],
            n_masks=masks,
            feature_res=worker.GRID,
            p_keep=worker.KEEP,
            axis_labels={0: "channels"},
            batch_size=worker.BATCH,
        )
        return np.asarray(found[0])


if __name__ == "__main__":
    worker.serve(Dianna)
