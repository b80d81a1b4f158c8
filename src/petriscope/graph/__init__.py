"""A graph of features says which resemble which, within and across layers."""
