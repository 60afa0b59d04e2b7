"""Verdicts on maps that another tool made."""
