"""The results of an evaluation on disk: rows in parts, run.json, summary; merge and status."""
