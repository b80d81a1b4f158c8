"""Parity fixtures of study cells; each module lists its kinds in `KINDS`."""
