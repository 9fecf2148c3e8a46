"""The types that a column can have: one module each, on the base in `base`."""
