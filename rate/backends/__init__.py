"""Runtimes behind one boundary; see `base`."""
