"""The versions, in the one place where the build and the records read them."""

__version__ = "0.2.0"

NUMERICS = 2
"""Rises with every change after which equal inputs give other rows. It is part of the key of a run."""
