"""Sparse autoencoders: a small core (coder, train, codes, quality) that needs vectors and nothing
of the rest."""
