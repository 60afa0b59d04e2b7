"""The families of models, each with its tower, heads, geometry and classes."""
