"""The throughput of an artifact on this machine."""
