"""TensorRT behind the boundary of `rate.backends.base`."""
