"""Reports of runs: tables and pictures."""
