"""creche: raise a classifier, judge it, and let it out only when it is better."""

__version__ = "0.1.0"
