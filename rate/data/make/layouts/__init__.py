"""Readers of public data sets in their original layouts, one file for each data set."""
