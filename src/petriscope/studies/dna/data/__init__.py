"""Data sets of sequences: the door, the planted world, the published set."""
