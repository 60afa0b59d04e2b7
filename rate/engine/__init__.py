"""Artifact and data to results: schedule, run, fold."""
