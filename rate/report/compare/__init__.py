"""Two or more heads over the same samples: comparison and agreement."""
