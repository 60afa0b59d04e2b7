"""Throughput of an artifact on this machine."""
