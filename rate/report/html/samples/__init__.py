"""The samples of a page: which are shown, their pictures, and the border of their regions."""
