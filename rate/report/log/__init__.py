"""The numbers of a head in the forms of other tools."""
