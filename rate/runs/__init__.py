"""What an evaluation leaves on disk: rows in parts, run.json, summary; merge and status."""
