"""The perturbed ONNX graph: mask, tower, heads."""
