"""Figures that only the chromatin study draws."""
