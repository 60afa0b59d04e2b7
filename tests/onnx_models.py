"""Small ONNX classifiers for tests: a convolution, a pooling, a linear layer; built node by node."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 24
CLASSES = ("cat", "dog", "eel", "fox", "gnu")


@dataclass
class Model:
    """A classifier of `SIZE` x `SIZE` images; `save` writes it."""

    opset: int = 17
    batch: str | int = "N"
    size: int | str = SIZE
    width: int | str | None = None
    kind: int = TensorProto.FLOAT
    channels_last: bool = False
    image: str = "image"
    logits: str = "scores"
    softmax: bool = False
    softmax_axis: int | None = None
    hard_batch: int | None = None  # written into a Reshape
    extra_output: bool = False
    extra_input: str = ""  # "used" | "unused"
    noise: float = 0.0  # of a random node: no two runs agree
    names: dict[str, str] = field(default_factory=dict)  # inner name -> another
    initializers_as_inputs: bool = False
    channels: int = 4
    deep: bool = False  # a second convolution and a hidden layer, between the first one and the head

    def name(self, inner: str) -> str:
        """The name in the graph of an inner tensor."""
        return self.names.get(inner, inner)

    def weights(self) -> dict[str, np.ndarray]:
        """Always the same."""
        rng = np.random.default_rng(7)
        found = {
            self.name("w"): rng.normal(0, 0.4, (self.channels, 3, 3, 3)).astype(np.float32),
            self.name("bias"): rng.normal(0, 0.2, self.channels).astype(np.float32),
            self.name("fc"): rng.normal(0, 2.0, (self.channels * 4, len(CLASSES))).astype(np.float32),
            self.name("shape"): np.array([self.hard_batch or 0, -1], np.int64),
        }
        if self.deep:
            width = 4 * self.channels
            found[self.name("w2")] = rng.uniform(0, 0.1, (self.channels, self.channels, 3, 3)).astype(np.float32)
            mixing = rng.normal(0, 0.02, (width, width)) + np.eye(width)
            found[self.name("hidden")] = mixing.astype(np.float32)
            found[self.name("fc")] = rng.uniform(0.5, 2.0, (width, len(CLASSES))).astype(np.float32)
        return found

    def nodes(self) -> list[Any]:
        """The graph's nodes."""
        n = self.name
        logits = n("raw") if self.softmax or self.noise else self.logits
        nodes = [
            helper.make_node("Conv", [self.image, n("w"), n("bias")], [n("conv")], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [n("conv")], [n("relu")]),
            helper.make_node("AveragePool", [n("relu")], [n("pool")], kernel_shape=[12, 12], strides=[12, 12]),
            helper.make_node("Reshape", [n("pool"), n("shape")], [n("flat")]),
            helper.make_node("MatMul", [n("flat"), n("fc")], [logits]),
        ]
        if self.deep:
            nodes[2].input[0], nodes[4].input[0] = n("conv2"), n("middle")
            nodes.insert(2, helper.make_node("Conv", [n("relu"), n("w2")], [n("conv2")], pads=[1, 1, 1, 1]))
            nodes.insert(5, helper.make_node("MatMul", [n("flat"), n("hidden")], [n("middle")]))
        if self.extra_input == "used":
            nodes[-1].output[0] = n("unshifted")
            nodes.append(helper.make_node("Add", [n("unshifted"), "prompt"], [logits]))
        if self.softmax:
            axis = {} if self.softmax_axis is None else {"axis": self.softmax_axis}
            nodes.append(helper.make_node("Softmax", [n("raw")], [self.logits], **axis))
        if self.noise:
            nodes.append(helper.make_node("RandomNormalLike", [n("raw")], [n("random")], scale=self.noise))
            nodes.append(helper.make_node("Add", [n("raw"), n("random")], [self.logits]))
        if self.extra_output:
            nodes.append(helper.make_node("Exp", [n("flat")], ["features"]))
        return nodes

    def proto(self) -> Any:
        """The ModelProto."""
        axes = [self.batch, 3, self.size, self.size if self.width is None else self.width]
        if self.channels_last:
            axes = [self.batch, self.size, self.size, 3]
        inputs = [helper.make_tensor_value_info(self.image, self.kind, axes)]
        stored = [numpy_helper.from_array(value, name) for name, value in self.weights().items()]
        if self.initializers_as_inputs:
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in stored]
        if self.extra_input:
            inputs.append(helper.make_tensor_value_info("prompt", TensorProto.FLOAT, ["N", 5]))
        outputs = [helper.make_tensor_value_info(self.logits, TensorProto.FLOAT, [self.batch, len(CLASSES)])]
        if self.extra_output:
            outputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, None))
        graph = helper.make_graph(self.nodes(), "classifier", inputs, outputs, stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = 3 if self.initializers_as_inputs else 8
        return model

    def save(self, path: Path) -> Path:
        """Write the model."""
        onnx.save(self.proto(), str(path))
        return path


def write_classes(path: Path, names: tuple[str, ...] = CLASSES) -> Path:
    """A file for --classes."""
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return path


def raw_logits(model: Path | bytes, images: np.ndarray, output: str | None = None) -> np.ndarray:
    """What ONNX Runtime, asked directly, makes of images, one at a time."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(model) if isinstance(model, Path) else model, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    outputs = None if output is None else [output]
    return np.concatenate([session.run(outputs, {name: image[None]})[0] for image in images])
