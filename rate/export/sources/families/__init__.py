"""How to find tower, heads, geometry and classes in each family of models."""
