"""Comparison and agreement of two or more heads over the same samples."""
