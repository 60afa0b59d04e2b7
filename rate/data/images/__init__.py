"""From bytes to model pixels: decoding, geometry, regions, corruptions."""
