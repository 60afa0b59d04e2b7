"""The engine from an artifact and data to results: schedule, run, fold."""
