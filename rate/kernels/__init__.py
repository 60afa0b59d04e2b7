"""Perturbation mathematics on masks and scores; no module here imports a model or a backend."""
