"""Its stages."""
