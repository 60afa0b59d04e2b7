"""The numbers of a model over its releases: a run each, in order."""
