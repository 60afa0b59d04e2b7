"""The numbers of a run: summed part by part from its rows, as records, and as text."""
