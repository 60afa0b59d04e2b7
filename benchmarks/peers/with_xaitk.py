"""xaitk-saliency's RISEStack around a classifier in ONNX Runtime, batches of 32.

The package leaves the classifier to its user. This one names the explained class alone: the package scores every class
that is named, in a loop over classes and masks. Masks are drawn in the calling thread; its option for more threads
draws them from one shared generator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from typing import Any

import numpy as np
import worker
from smqtk_classifier.interfaces.classify_image import ClassifyImage
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.rise import RISEStack


class Classifier(ClassifyImage):
    """Pictures to the probability of one class."""

    def __init__(self, setup: worker.Setup) -> None:
        self.model, self.target = worker.OnnxModel(setup), 0
        mean, std = (np.array(setup.options[name], np.float32).reshape(3, 1, 1) for name in ("mean", "std"))
        self._scale, self._shift = 1.0 / (255.0 * std), -mean / std

    def get_labels(self) -> Sequence[int]:
        """The explained class."""
        return [self.target]

    def classify_images(self, img_iter: Iterable[np.ndarray]) -> Iterator[dict[int, float]]:
        """Pictures are normalised, stacked and run as they come."""
        pictures = iter(img_iter)
        while batch := list(islice(pictures, worker.BATCH)):
            for row in self.model(self.normalised(batch)):
                yield {self.target: float(row[self.target])}

    def normalised(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Pixels [b,3,h,w]."""
        stacked = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32)
        stacked *= self._scale
        stacked += self._shift
        return stacked

    def get_config(self) -> dict[str, Any]:
        """Of no use here, but asked for."""
        return {}


class Xaitk:
    """The classifier and its pictures."""

    def __init__(self, setup: worker.Setup) -> None:
        self._pictures, self._targets, self._classifier = setup.pictures(), setup.targets, Classifier(setup)
        self.about = {
            "version": version("xaitk-saliency"),
            "runtime": f"onnxruntime {version('onnxruntime')}",
            "precision": "f32",
        }

    def predict(self, image: int) -> tuple[int, float]:
        """As `worker.Tool`."""
        scores = self._classifier.model(self._classifier.normalised([self._pictures[image]]))[0]
        return int(scores.argmax()), float(scores.max())

    def explain(self, images: Sequence[int], masks: int) -> worker.Explained:
        """As `worker.Tool`."""
        model, maps = self._classifier.model, []
        model.forwards = 0
        for image in images:
            self._classifier.target = self._targets[image]
            stack = RISEStack(n=masks, s=worker.GRID, p1=worker.KEEP, seed=0)
            maps.append(stack.generate(self._pictures[image], self._classifier)[0])
        return worker.Explained(maps, model.forwards)


if __name__ == "__main__":
    worker.serve(Xaitk)
