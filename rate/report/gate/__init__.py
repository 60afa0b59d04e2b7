"""The release gate: policy, decision, and its forms (table, JUnit, Markdown)."""
