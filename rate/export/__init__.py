"""From a checkpoint to an artifact: the perturbed graph, its weights, and the proof that it computes the same."""
