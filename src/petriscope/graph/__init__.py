"""Graphs of features: which resemble which, within and across layers."""
