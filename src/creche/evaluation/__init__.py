"""Measuring a model file on the holdout, and its behavior in a process without torch."""
