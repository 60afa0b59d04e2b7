"""The verbs of `rate data`."""
