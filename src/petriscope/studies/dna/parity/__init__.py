"""Parity fixtures of study dna: what the original programs computed, computed again here."""
