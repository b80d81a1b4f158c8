"""What the original programs computed is computed again: the parity fixtures of study dna."""
