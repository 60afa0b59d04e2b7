"""openvino-xai's RISE: one mask a forward, in the precision that OpenVINO chooses when nobody asks.

The class behind its explainer is called, so that its pictures are not paid for, on a graph of batch 1, which is what
it runs. OpenVINO uses the cores of the process; the package has no setting for threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np
import openvino
import worker
from openvino_xai.methods.black_box.rise import RISE


class OpenVinoXai:
    """A compiled model."""

    def __init__(self, setup: worker.Setup) -> None:
        self._pixels, self._targets = setup.pixels(), setup.targets
        model = openvino.Core().read_model(setup.files["onnx"])
        model.reshape([1, *self._pixels.shape[1:]])
        self._method = RISE(model, self._scores)
        self._forwards = 0
        precision = self._method.model_compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        names = {"bfloat16": "bf16", "float32": "f32", "f32": "f32", "bf16": "bf16"}
        self.about = {"version": version("openvino-xai"), "precision": names.get(precision, precision)}
        self.about["runtime"] = f"openvino {version('openvino')}"

    def _scores(self, output: Mapping) -> np.ndarray:
        self._forwards += 1
        return output[0]

    def predict(self, image: int) -> tuple[int, float]:
        """As `worker.Tool`."""
        scores = self._method.get_logits(self._pixels[image][None])[0]
        return int(scores.argmax()), float(scores.max())

    def explain(self, images: Sequence[int], masks: int) -> worker.Explained:
        """As `worker.Tool`."""
        self._forwards, maps = 0, []
        for image in images:
            target = self._targets[image]
            found = self._method.generate_saliency_map(
                self._pixels[image][None],
                target_indices=[target],
                num_masks=masks,
                num_cells=worker.GRID,
                prob=worker.KEEP,
            )
            maps.append(found[target])
        return worker.Explained(maps, self._forwards)


if __name__ == "__main__":
    worker.serve(OpenVinoXai)
