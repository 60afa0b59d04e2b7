"""Results as text for a terminal, and as CSV."""
