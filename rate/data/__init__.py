"""Evaluation sets: manifests, image folders, and the one geometry that image and region share."""
