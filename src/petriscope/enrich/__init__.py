"""Sets over a universe of tokens: matched backgrounds, motifs, states, gene sets, and the labels they give features."""
