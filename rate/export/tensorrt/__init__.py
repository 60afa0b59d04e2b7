"""Building TensorRT plans from an artifact."""
