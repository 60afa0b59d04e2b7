"""Stands before pandas on the path of the commands that tests start."""

raise ImportError("commands of tests run as where rate alone is installed")
