"""Workers beside the process that owns a run: local processes and Ray actors."""
