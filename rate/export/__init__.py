"""Export from a checkpoint to an artifact: the perturbed graph, its weights, and the proof of its logits."""

from rate.callable_package import make_callable

make_callable(__name__)
