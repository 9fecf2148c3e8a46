"""creche: train a classifier, evaluate it, and promote it only when it is better."""

__version__ = "0.1.0"
