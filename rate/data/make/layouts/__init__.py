"""Readers of public data sets as they lie on the disk: a folder in, entries out. One file a data set."""
