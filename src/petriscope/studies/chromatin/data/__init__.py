"""The chromatin data set: its folder, its official sources, and what is computed from it for the
model."""
