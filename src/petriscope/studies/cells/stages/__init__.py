"""The stages of study cells."""
