"""The conversion from bytes to model pixels: decoding, geometry, regions, corruptions."""
