"""The terminal interface browses the atlas and drives the pipeline."""
