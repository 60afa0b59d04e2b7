"""Perturbation mathematics. Nothing here sees a model: masks on one side, scores on the other."""
