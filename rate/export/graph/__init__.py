"""The perturbed ONNX graph: perturbation, tower and heads."""
