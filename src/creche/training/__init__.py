"""Training of a network, in one process or in a process group that shares every batch."""
