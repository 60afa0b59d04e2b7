"""File formats of evaluation sets: manifests, tar shards, Parquet with images."""
