"""Evaluation sets: manifests, image folders, and the geometry that image and region share."""
